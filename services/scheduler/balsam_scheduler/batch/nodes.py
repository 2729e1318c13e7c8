"""What the nodes of queues have: by the settings, by the policy, or as launchers there have reported. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from balsam.fields import MAX_INT
from balsam_scheduler.batch.policy import Queue
from balsam_scheduler.batch.work import Shape


class NodeKind(NamedTuple):
    """Nodes that are alike: how many there are, and the cores and GPUs of each."""

    number: int
    cores: int
    gpus: int


_ANY = NodeKind(MAX_INT, MAX_INT, MAX_INT)
"""Of nodes of which nobody knows anything."""


@dataclass(frozen=True)
class Report:
    """What the launcher of a launch found: the queue and the options of its submission, and its nodes."""

    queue: str
    sched_flags: str
    kinds: tuple[NodeKind, ...]


def able(kinds: Sequence[NodeKind], shape: Shape) -> int:
    """How many nodes of these kinds have the cores and GPUs that a job needs."""
    return sum(kind.number for kind in kinds if kind.cores >= shape.cores and kind.gpus >= shape.gpus)


def could_hold(kinds: Sequence[NodeKind], shape: Shape) -> bool:
    """Whether nodes of these kinds have what a job needs of cores and GPUs; none: nobody knows, so they may."""
    return not kinds or not (shape.cores or shape.gpus) or able(kinds, shape) >= shape.nodes


@dataclass(frozen=True)
class Nodes:
    """What is known of nodes.

    What a setting says counts everywhere, since launchers go by it; then what the policy says of a queue; then what
    launchers have found that were submitted to the same queue with the same options.

    Attributes:
        cores: of each node, by the settings; 0: they do not say.
        gpus: of each node, by the settings; 0: they do not say.
        reports: of launchers.
    """

    cores: int = 0
    gpus: int = 0
    reports: tuple[Report, ...] = ()

    def lacks(self, queue: Queue, shape: Shape) -> str:
        """What a job needs that no node of a queue has, for people; empty: nothing, or nobody knows."""
        kinds = self._kinds(queue)
        if able(kinds, shape):
            return ""
        cores, gpus = max(kind.cores for kind in kinds), max(kind.gpus for kind in kinds)
        if shape.gpus > gpus:
            found, source = _at_most(gpus), self._source(self.gpus, "gpus_per_node", queue.gpus_per_node >= 0)
        elif shape.cores > cores:
            found, source = _at_most(cores), self._source(self.cores, "cores_per_node", queue.cores_per_node > 0)
        else:
            found, source = "has both", _REPORTED
        return f"needs {shape.needs} on a node, and no node of {queue.label} {found} ({source})"

    def _kinds(self, queue: Queue) -> list[NodeKind]:
        where = (queue.name, queue.sched_flags)
        reported = [kind for one in self.reports if (one.queue, one.sched_flags) == where for kind in one.kinds]
        cores = self.cores or queue.cores_per_node
        gpus = self.gpus or queue.gpus_per_node
        fixed = gpus if self.gpus or queue.gpus_per_node >= 0 else None
        return [
            NodeKind(kind.number, cores or kind.cores, kind.gpus if fixed is None else fixed)
            for kind in reported or [_ANY]
        ]

    def _source(self, of_settings: int, key: str, of_policy: bool) -> str:
        if of_settings:
            return f"{key} in settings.toml"
        return f"{key} in policy.toml" if of_policy else _REPORTED


_REPORTED = "as launchers there have reported"


def _at_most(number: int) -> str:
    return f"has more than {number}" if number else "has one"
