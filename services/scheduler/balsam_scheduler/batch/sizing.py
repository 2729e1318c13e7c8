"""How large a launch should be, and how long: within a band of the policy, for the work that waits. Pure.

A launch is as short as its band allows, with as many nodes as the work keeps busy for so long, and no more. Work that
does not finish so gets all the nodes that there may be, and then more time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from balsam_scheduler.batch.packing import Packing
from balsam_scheduler.batch.policy import Band
from balsam_scheduler.batch.work import Shape

Wanted = Sequence[tuple[Shape, int]]
"""Shapes and numbers of jobs, the largest first: the first must fit."""


@dataclass(frozen=True)
class Room:
    """What the limits of a policy leave for one launch more; None: no limit.

    Attributes:
        nodes: nodes.
        node_minutes: nodes times minutes.
        minutes: wall time.
    """

    nodes: int | None = None
    node_minutes: int | None = None
    minutes: int | None = None


@dataclass(frozen=True)
class Size:
    """A launch: its nodes and minutes, how many jobs of each shape finish in it, and how much work that is."""

    nodes: int
    minutes: int
    placed: tuple[int, ...]
    node_minutes: float


def size(band: Band, room: Room, wanted: Wanted, spare_minutes: int, job_mode: str = "auto") -> Size | None:
    """The launch of a band that does most of the work, and of those the smallest; None: the first job does not fit.

    Args:
        band: the sizes allowed.
        room: what the limits leave.
        wanted: the work.
        spare_minutes: of a launch's time so much is not for jobs: starting and stopping [min].
        job_mode: of its launcher.
    """
    first = wanted[0][0]
    shortest = max(band.min_minutes, first.minutes + spare_minutes)
    fewest = max(band.min_nodes, first.nodes)
    most = _least_of(band.max_nodes, room.nodes, None if room.node_minutes is None else room.node_minutes // shortest)
    most_minutes = _least_of(band.max_minutes, room.minutes)
    if shortest > most_minutes or fewest > most:
        return None
    longest = _least_of(most_minutes, None if room.node_minutes is None else room.node_minutes // most)
    possible = Packing(most, longest - spare_minutes, job_mode)
    if not possible.holds(first):
        return None
    wanted = [(shape, count if possible.holds(shape) else 0) for shape, count in wanted]

    def finishes(nodes: int, minutes: int) -> bool:
        return _placed(wanted, nodes, minutes - spare_minutes, job_mode) == tuple(count for _, count in wanted)

    if finishes(most, shortest):
        nodes, minutes = _smallest(fewest, most, lambda nodes: finishes(nodes, shortest)), shortest
    else:
        nodes, minutes = most, _smallest(shortest, longest, lambda minutes: finishes(most, minutes))
    placed = _placed(wanted, nodes, minutes - spare_minutes, job_mode)
    work = sum(shape.width(job_mode) * shape.minutes * count for (shape, _), count in zip(wanted, placed, strict=True))
    return Size(nodes, minutes, placed, float(work))


def _least_of(value: int, *others: int | None) -> int:
    return min([value, *(other for other in others if other is not None)])


def _smallest(low: int, high: int, enough: Callable[[int], bool]) -> int:
    """The smallest number from `low` that is enough; `high` where none below it is."""
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _placed(wanted: Wanted, nodes: int, minutes: int, job_mode: str) -> tuple[int, ...]:
    packing = Packing(nodes, minutes, job_mode)
    return tuple(packing.put(shape, count) for shape, count in wanted)
