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


class Room:
    """How full one node is."""

    __slots__ = ("_runs", "used")

    def __init__(self) -> None:
        self.used = 0.0
        """The shares that are taken, added up."""
        self._runs = 0

    def has(self, share: float) -> bool:
        """Whether so much is left."""
        return self.used <= 1.0 + _ROUNDING - share

    def take(self, share: float) -> None:
        """Takes a share, which must be there."""
        self.used += share
        self._runs += 1

    def give_back(self, share: float) -> None:
        """Gives back what was taken."""
        if self._runs < 1:
            raise AssertionError("more is given back than was taken")
        self._runs -= 1
        # An empty node is exactly empty, however the shares were rounded.
        self.used = self.used - share if self._runs else 0.0


class Placement:
    """How full each node is. Nodes are numbers, from 0.

    Args:
        count: how many nodes there are.
    """

    def __init__(self, count: int) -> None:
        self._nodes = [Room() for _ in range(count)]

    @property
    def size(self) -> int:
        """How many nodes there are."""
        return len(self._nodes)

    @property
    def used(self) -> float:
        """Nodes in use, shares added up."""
        return sum([node.used for node in self._nodes])

    def place(self, need: Need) -> tuple[int, ...] | None:
        """Takes nodes for a job; None: there is no room now, and nothing was taken."""
        chosen = self._choose(need)
        for node in chosen or ():
            self._nodes[node].take(need.share)
        return chosen

    def free(self, nodes: Sequence[int], need: Need) -> None:
        """Gives back what `place` gave for this need."""
        for node in nodes:
            self._nodes[node].give_back(need.share)

    def _choose(self, need: Need) -> tuple[int, ...] | None:
        fitting = [number for number, node in enumerate(self._nodes) if node.has(need.share)]
        if len(fitting) < need.nodes:
            return None
        if need.nodes == 1 and need.share < 1.0:
            # The fullest that has room: so whole nodes stay free for those who need them.
            return (max(fitting, key=lambda number: (self._nodes[number].used, -number)),)
        return tuple(fitting[: need.nodes])
