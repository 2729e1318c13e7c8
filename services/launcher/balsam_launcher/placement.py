"""Which nodes a job gets: whole nodes, or a share of one. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Need:
    """What a job needs.

    Attributes:
        nodes: how many nodes.
        share: what it takes of each of them, more than 0 and at most 1.
        mpi: started by the MPI run command.
    """

    nodes: int
    share: float
    mpi: bool

    @property
    def total(self) -> float:
        """In nodes, as credit is counted: a serial job is 1 / node_packing_count, an MPI job its nodes."""
        return self.nodes * self.share


def need_of(num_nodes: int, ranks_per_node: int, node_packing_count: int, job_mode: str) -> Need | None:
    """The need of a job under a launcher's mode; None: it cannot run there. Absent fields (0) count as 1."""
    nodes, ranks, packing = num_nodes or 1, ranks_per_node or 1, node_packing_count or 1
    serial = nodes == 1 and ranks == 1
    if job_mode == "mpi":
        return Need(nodes, 1.0, True)
    if serial:
        return Need(1, 1.0 / packing, False)
    return None if job_mode == "serial" else Need(nodes, 1.0, True)


class Placement:
    """How full each node is. Nodes are numbers, from 0.

    Args:
        count: how many nodes there are.
    """

    def __init__(self, count: int) -> None:
        self._used = [0.0] * count
        self._runs = [0] * count

    @property
    def size(self) -> int:
        """How many nodes there are."""
        return len(self._used)

    @property
    def used(self) -> float:
        """Nodes in use, shares added up."""
        return sum(self._used)

    def has_room(self, need: Need) -> bool:
        """Whether `place` would find nodes."""
        return self._choose(need) is not None

    def place(self, need: Need) -> tuple[int, ...] | None:
        """Takes nodes for a job; None: there is no room now, and nothing was taken."""
        chosen = self._choose(need)
        for node in chosen or ():
            self._used[node] += need.share
            self._runs[node] += 1
        return chosen

    def free(self, nodes: Sequence[int], need: Need) -> None:
        """Gives back what `place` gave for this need."""
        for node in nodes:
            if self._runs[node] < 1:
                raise AssertionError(f"node {node} is given back more often than it was taken")
            self._runs[node] -= 1
            # An empty node is exactly empty, however the shares were rounded.
            self._used[node] = self._used[node] - need.share if self._runs[node] else 0.0

    def _choose(self, need: Need) -> tuple[int, ...] | None:
        room = 1.0 + _ROUNDING - need.share
        fitting = [node for node, used in enumerate(self._used) if used <= room]
        if len(fitting) < need.nodes:
            return None
        if need.nodes == 1 and need.share < 1.0:
            # The fullest that has room: so whole nodes stay free for those who need them.
            return (max(fitting, key=lambda node: (self._used[node], -node)),)
        return tuple(fitting[: need.nodes])
