"""Work that waits, in groups of jobs that are alike. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any, NamedTuple

from balsam.states import State

NOTHING: Mapping[str, int] = MappingProxyType({})
"""Nothing is expected of applications: what their jobs say counts."""

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
    "cpu_affinity",
    "threads_per_rank",
    "threads_per_core",
    "gpus_per_rank",
)
"""Fields of a job by which work is grouped, always."""


class Shape(NamedTuple):
    """What one job asks of a launch."""

    nodes: int
    """With those reserved beside it."""
    minutes: int
    per_node: int = 1
    """So many share a node; more than 1 for serial jobs only."""
    serial: bool = True
    cores: int = 0
    """Cores that it is bound to on each of its nodes; 0: it is not bound."""
    gpus: int = 0
    """GPUs of each of its nodes; a part of one counts as one."""

    def width(self, job_mode: str) -> Fraction:
        """Nodes that it takes in a launcher of a mode, where ``mpi`` gives each job whole nodes."""
        return Fraction(self.nodes) if job_mode == "mpi" else Fraction(self.nodes, self.per_node)

    @property
    def text(self) -> str:
        """For people."""
        share = f", {self.per_node} to a node" if self.per_node > 1 else ""
        own = f", with {self.needs} of each" if self.needs else ""
        return f"{counted(self.nodes, 'node')} for {counted(self.minutes, 'minute')}{share}{own}"

    @property
    def needs(self) -> str:
        """What it needs of each node beside room, for people; empty: nothing."""
        gpus = [counted(self.gpus, "GPU")] if self.gpus else []
        cores = [f"{counted(self.cores, 'core')} to be bound to"] if self.cores else []
        return " and ".join([*gpus, *cores])


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
        own = (shape.cores, shape.gpus)
        where = (self.workflow, self.launch or 0, self.waits)
        return (-shape.nodes, -shape.minutes, shape.per_node, shape.serial, own, where)


def group_fields(*, workflows: bool = False, applications: bool = False) -> tuple[str, ...]:
    """Fields of a job by which work is grouped, where workflows matter, or applications."""
    return (*GROUP_FIELDS, *["workflow"] * workflows, *["application"] * applications)


def shape_of(job: Mapping[str, Any], expected: Mapping[str, int] = NOTHING) -> Shape:
    """The shape of a job.

    Args:
        job: the values of its fields; those that are absent have their defaults.
        expected: application -> minutes in which launchers expect its runs to end, whatever its jobs say.
    """
    nodes, beside = int(job.get("num_nodes", 1)), int(job.get("coschedule_num_nodes", 0))
    ranks = int(job.get("ranks_per_node", 1))
    serial = nodes == 1 and ranks == 1
    per_node = int(job.get("node_packing_count", 1)) if serial and not beside else 1
    asked = int(job.get("wall_time_minutes", 1))
    minutes = max(1, min(asked, expected.get(str(job.get("application", "")), asked)))
    gpus = _gpus_of_ranks(ranks, float(job.get("gpus_per_rank", 0.0)))
    return Shape(nodes + beside, minutes, per_node, serial, _cores_of_ranks(ranks, job), gpus)


# These two are as launchers reckon (`balsam_launcher.needs`), which this service must not import; a test compares them.


def _cores_of_ranks(ranks: int, job: Mapping[str, Any]) -> int:
    """Cores of a node that so many ranks are bound to."""
    if job.get("cpu_affinity", "none") != "depth":
        return 0
    return ranks * -(-int(job.get("threads_per_rank", 1)) // int(job.get("threads_per_core", 1)))


def _gpus_of_ranks(ranks: int, gpus_per_rank: float) -> int:
    """GPUs of a node that so many ranks need; those share one that need a part of it."""
    if gpus_per_rank <= 0:
        return 0
    sharing = 1 if gpus_per_rank >= 1 else math.floor(1 / gpus_per_rank + 1e-9)
    return math.ceil(ranks / sharing) * math.ceil(gpus_per_rank)


def work_of(
    groups: Iterable[tuple[tuple[Any, ...], int]],
    fields: Sequence[str] = GROUP_FIELDS,
    expected: Mapping[str, int] = NOTHING,
) -> tuple[Work, ...]:
    """Work in the order in which launchers take it.

    Args:
        groups: values of these fields with the number of jobs that have them.
        fields: of `group_fields`.
        expected: as for `shape_of`.
    """
    counts: dict[tuple[Shape, str, int | None, bool], int] = {}
    for values, count in groups:
        job = dict(zip(fields, values, strict=True))
        waits = job["state"] == State.AWAITING_PARENTS.name
        key = (shape_of(job, expected), job.get("workflow", ""), job["queued_launch"], waits)
        counts[key] = counts.get(key, 0) + count
    works = [Work(shape, count, workflow, launch, waits) for (shape, workflow, launch, waits), count in counts.items()]
    return tuple(sorted(works, key=lambda work: work.order))


def counted(number: int, noun: str) -> str:
    """``1 job``, ``2 jobs``, ``1,000 jobs``; ``1 launch``, ``2 launches``."""
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith('ch') else 's'}"
