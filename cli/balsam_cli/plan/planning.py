"""When the jobs would finish in launches of some size, and what that costs: a range, and what is most likely. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from balsam_cli.plan.estimates import Estimate
from balsam_cli.plan.simulation import Launches, Order, Outcome, simulate
from balsam_cli.plan.work import Kind, Work

MOST_SIZES = 6


@dataclass(frozen=True)
class Span:
    """The least, what is most likely, and the most."""

    low: float
    likely: float
    high: float

    @classmethod
    def of(cls, low: float, likely: float, high: float) -> Span:
        """In order, whatever comes: more time may by chance give a better order of jobs."""
        return cls(min(low, likely, high), likely, max(low, likely, high))

    def record(self) -> dict[str, float]:
        """As plain data for `--json`."""
        return {"low": self.low, "likely": self.likely, "high": self.high}


@dataclass(frozen=True)
class Asked:
    """What launches are asked for.

    Attributes:
        nodes: of each.
        minutes: how long each lasts, its start and end included; None: without a limit.
        wait_minutes: in the queue before each: the least and the most.
        margin_minutes: of each, so much is not for jobs.
        job_mode: of their launchers.
    """

    nodes: int
    minutes: float | None = None
    wait_minutes: tuple[float, float] = (0.0, 0.0)
    margin_minutes: float = 0.0
    job_mode: str = "auto"

    def launches(self, wait_minutes: float) -> Launches:
        """The launches, for a wait."""
        seconds = None if self.minutes is None else max(0.0, (self.minutes - self.margin_minutes) * 60)
        return Launches(self.nodes, seconds, wait_minutes * 60, self.job_mode)


@dataclass(frozen=True)
class Plan:
    """What to expect.

    Attributes:
        nodes: of each launch.
        seconds: from now until the last run has ended [s].
        launches: how many there are.
        node_hours: that the launches last, their nodes times their hours.
        busy: share of that in which runs use the nodes, 0 to 1.
        never: jobs that never fit, or wait for such.
        is_cut: it takes more launches than were looked at.
    """

    nodes: int
    seconds: Span
    launches: Span
    node_hours: Span
    busy: float
    never: int
    is_cut: bool = False

    def record(self) -> dict[str, Any]:
        """As plain data for `--json`."""
        return {
            "nodes": self.nodes,
            "seconds": self.seconds.record(),
            "launches": self.launches.record(),
            "node_hours": self.node_hours.record(),
            "busy": self.busy,
            "never": self.never,
            "is_cut": self.is_cut,
        }


def plan(work: Work, estimates: Mapping[Kind, Estimate], asked: Asked) -> Plan:
    """What to expect of launches.

    The least: runs are as short as is likely, and the longest start first. The most: they are as long as is likely,
    and the longest come last. Between these: all as seen, mixed.
    """
    shortest, longest = asked.wait_minutes
    low = _simulated(work, estimates, asked, shortest, Order.LONGEST_FIRST, 0)
    likely = _simulated(work, estimates, asked, (shortest + longest) / 2, Order.MIXED, 1)
    high = _simulated(work, estimates, asked, longest, Order.SHORTEST_FIRST, 2)
    return Plan(
        asked.nodes,
        Span.of(low.seconds, likely.seconds, high.seconds),
        Span.of(low.launches, likely.launches, high.launches),
        Span.of(*(outcome.node_seconds / 3600 for outcome in (low, likely, high))),
        likely.busy_node_seconds / likely.node_seconds if likely.node_seconds else 0.0,
        likely.never,
        high.is_cut,
    )


def _simulated(
    work: Work, estimates: Mapping[Kind, Estimate], asked: Asked, wait: float, order: Order, which: int
) -> Outcome:
    lengths = {}
    for kind, one in estimates.items():
        factor = (one.low, 1.0, one.high)[which]
        lengths[kind] = [length * factor for length in one.lengths]
    return simulate(work, lengths, asked.launches(wait), order=order, share_to_go=which / 2, in_phases=which == 2)


def usual_sizes(work: Work, job_mode: str = "auto") -> list[int]:
    """Sizes of launches to look at where none is asked for: from the largest job on, each twice the one before, as
    long as there is work for them."""
    kinds = work.kinds()
    nodes = max((kind.nodes for kind in kinds), default=1)
    width = sum(kind.width(job_mode) * count for kind, count in kinds.items())
    sizes = [nodes]
    while len(sizes) < MOST_SIZES and 2 * sizes[-1] <= width:
        sizes.append(2 * sizes[-1])
    return sizes


def most_common(work: Work, estimates: Mapping[Kind, Estimate]) -> Sequence[tuple[Kind, int, Estimate]]:
    """Kinds, how many jobs there are of each, and how long they take; what takes most node-time is first."""
    kinds = work.kinds()
    order = sorted(kinds, key=lambda kind: (-kind.width("auto") * kinds[kind] * estimates[kind].mean, kind))
    return [(kind, kinds[kind], estimates[kind]) for kind in order]
