"""Work that waits, in groups of jobs that are alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from balsam.states import State

RUNNABLE_SOON = (
    State.CREATED,
    State.READY,
    State.STAGED_IN,
    State.PREPROCESSED,
    State.RESTART_READY,
)
"""States of jobs that run next, or after staging and pre-processing."""

GROUP_FIELDS = (
    "state",
    "num_nodes",
    "coschedule_num_nodes",
    "ranks_per_node",
    "node_packing_count",
    "wall_time_minutes",
    "queued_launch",
)
"""Fields of a job by which work is grouped; where workflows matter, ``workflow`` comes after them."""


class Shape(NamedTuple):
    """What one job asks of a launch."""

    nodes: int
    """With those reserved beside it."""
    minutes: int
    per_node: int = 1
    """So many share a node; more than 1 for serial jobs only."""
    serial: bool = True

    def width(self, job_mode: str) -> Fraction:
        """Nodes that it takes in a launcher of a mode, where ``mpi`` gives each job whole nodes."""
        return Fraction(self.nodes) if job_mode == "mpi" else Fraction(self.nodes, self.per_node)

    @property
    def text(self) -> str:
        """For people."""
        share = f", {self.per_node} to a node" if self.per_node > 1 else ""
        return f"{counted(self.nodes, 'node')} for {counted(self.minutes, 'minute')}{share}"


@dataclass(frozen=True)
class Work:
    """Jobs that are alike."""

    shape: Shape
    count: int
    workflow: str = ""
    """Empty where no filter asks for it."""
    launch: int | None = None
    """The launch that they are bound to."""
    waits: bool = False
    """For parents."""

    @property
    def order(self) -> tuple[Any, ...]:
        """Sorts by the order in which a launcher takes jobs of one priority: the largest first."""
        shape = self.shape
        return (-shape.nodes, -shape.minutes, shape.per_node, shape.serial, self.workflow, self.launch or 0, self.waits)


def shape_of(job: Mapping[str, Any]) -> Shape:
    """The shape of a job, from the values of its fields; those that are absent have their defaults."""
    nodes, beside = int(job.get("num_nodes", 1)), int(job.get("coschedule_num_nodes", 0))
    serial = nodes == 1 and int(job.get("ranks_per_node", 1)) == 1
    per_node = int(job.get("node_packing_count", 1)) if serial and not beside else 1
    return Shape(nodes + beside, max(1, int(job.get("wall_time_minutes", 1))), per_node, serial)


def work_of(groups: Iterable[tuple[tuple[Any, ...], int]], *, workflows: bool) -> tuple[Work, ...]:
    """Work in the order in which launchers take it.

    Args:
        groups: values of `GROUP_FIELDS` (and of ``workflow``) with the number of jobs that have them.
        workflows: whether ``workflow`` is among them.
    """
    counts: dict[tuple[Shape, str, int | None, bool], int] = {}
    for values, count in groups:
        job = dict(zip((*GROUP_FIELDS, "workflow"), values, strict=False))
        waits = job["state"] == State.AWAITING_PARENTS.name
        key = (shape_of(job), job["workflow"] if workflows else "", job["queued_launch"], waits)
        counts[key] = counts.get(key, 0) + count
    works = [Work(shape, count, workflow, launch, waits) for (shape, workflow, launch, waits), count in counts.items()]
    return tuple(sorted(works, key=lambda work: work.order))


def counted(number: int, noun: str) -> str:
    """``1 job``, ``2 jobs``, ``1,000 jobs``; ``1 launch``, ``2 launches``."""
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith('ch') else 's'}"
