"""Which nodes a job gets: whole nodes, or a share of one, with cores and GPUs of its own. No I/O, no clock.

Sets of nodes are the bits of whole numbers: which of thousands of nodes have room, free cores and free GPUs, and are
open, takes a few operations on such numbers, and no look at a node.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from balsam_launcher.seats import UNITS, Cores, Gpus, Seat, gpu_share, gpus_of_ranks, units


@dataclass(frozen=True, slots=True)
class Need:
    """What a job needs.

    Attributes:
        nodes: how many nodes.
        share: what it takes of each of them, more than 0 and at most 1.
        mpi: started by the MPI run command, on whole nodes.
        cores: how many cores it is bound to on each node; 0: it is not bound.
        gpus: how many GPUs are assigned to it on each node; less than 1: a part of one, shared with others.
    """

    nodes: int
    share: float
    mpi: bool
    cores: int = 0
    gpus: float = 0.0

    @property
    def total(self) -> float:
        """In nodes, as credit is counted: a serial job is 1 / node_packing_count, an MPI job its nodes."""
        return self.nodes * self.share

    @property
    def own(self) -> bool:
        """It needs cores or GPUs of its own."""
        return self.cores > 0 or self.gpus > 0


def need_of(
    num_nodes: int,
    ranks_per_node: int,
    node_packing_count: int,
    job_mode: str,
    *,
    cores_per_rank: int = 0,
    gpus_per_rank: float = 0.0,
) -> Need | None:
    """The need of a job under a launcher's mode; None: it cannot run there. Absent fields (0) count as 1.

    Args:
        num_nodes: nodes of the run.
        ranks_per_node: ranks on each.
        node_packing_count: how many serial jobs share a node.
        job_mode: the launcher's: ``auto``, ``mpi`` or ``serial``.
        cores_per_rank: cores that each rank is bound to; 0: none.
        gpus_per_rank: GPUs of each rank, fractions share one.
    """
    nodes, ranks, packing = num_nodes or 1, ranks_per_node or 1, node_packing_count or 1
    if nodes == 1 and ranks == 1 and job_mode != "mpi":
        return Need(1, 1.0 / packing, False, cores_per_rank, gpu_share(gpus_per_rank))
    if job_mode == "serial":
        return None
    return Need(nodes, 1.0, True, ranks * cores_per_rank, float(gpus_of_ranks(ranks, gpus_per_rank)))


class NodeLike(Protocol):
    """What placement looks at of a node."""

    @property
    def cores(self) -> int:
        """How many it has."""

    @property
    def gpus(self) -> Sequence[str]:
        """Those that are there to be assigned."""


class Seats(NamedTuple):
    """Where a run is, and what it has there."""

    need: Need
    seats: tuple[Seat, ...]

    @property
    def nodes(self) -> tuple[int, ...]:
        """Numbers of its nodes."""
        return tuple([seat.node for seat in self.seats])


class _AtLeast:
    """Sets of nodes by how many of something they have left: at least one, at least two, ..."""

    def __init__(self, counts: Sequence[int]) -> None:
        self._sets = [0] * (max(counts, default=0) + 1)
        for node, count in enumerate(counts):
            self.change(1 << node, 0, count)

    def nodes(self, count: int) -> int:
        """The nodes with at least so many, more than 0."""
        return self._sets[count] if count < len(self._sets) else 0

    def change(self, bit: int, before: int, after: int) -> None:
        """The node of this bit has another number of them left."""
        for count in range(min(before, after) + 1, max(before, after) + 1):
            self._sets[count] ^= bit


class Placement:
    """What is taken of each node. Nodes are numbers, from 0.

    Args:
        nodes: the nodes.
    """

    def __init__(self, nodes: Sequence[NodeLike]) -> None:
        self._bits = [1 << number for number in range(len(nodes))]
        self._used = [0] * len(nodes)
        self._total = 0
        self._empty = self._open_serial = self._open_mpi = (1 << len(nodes)) - 1
        # Nodes that are open for serial jobs, by what is used of them, in units; and those amounts in order.
        self._by_used = {0: self._open_serial} if nodes else {}
        self._amounts = list(self._by_used)
        self._plain = [(Seat(number),) for number in range(len(nodes))]
        self._sizes = [(node.cores, len(node.gpus)) for node in nodes]
        self._able: dict[tuple[int, int], int] = {}
        self._cores = [Cores(node.cores) for node in nodes]
        self._gpus = [Gpus(len(node.gpus)) for node in nodes]
        self._free_cores = _AtLeast([cores for cores, _ in self._sizes])
        self._free_gpus = _AtLeast([gpus for _, gpus in self._sizes])
        self._begun_gpus: dict[int, int] = {}  # fraction in units -> nodes with so much left of a GPU that is begun

    @property
    def size(self) -> int:
        """How many nodes there are."""
        return len(self._used)

    @property
    def used(self) -> float:
        """Nodes in use, shares added up."""
        return self._total / UNITS

    def kinds(self, most: int) -> list[tuple[int, int, int]]:
        """Nodes that are alike: how many, their cores, and their GPUs; the most frequent first.

        Where there are more kinds than `most`, the rarest are counted as one, with what all of them have.
        """
        found = [(count, *size) for size, count in Counter(self._sizes).most_common()]
        if len(found) <= most:
            return found
        counts, cores, gpus = zip(*found[most - 1 :], strict=True)
        return [*found[: most - 1], (sum(counts), min(cores), min(gpus))]

    # Open and closed

    def close(self, node: int, *, serial: bool = True, mpi: bool = True) -> None:
        """Gives a node to no more serial jobs, MPI jobs, or both; what is there stays."""
        bit = self._bits[node]
        if serial and self._open_serial & bit:
            self._leave(self._used[node], bit)
            self._open_serial ^= bit
        if mpi:
            self._open_mpi &= ~bit

    def open(self, node: int, *, serial: bool = True, mpi: bool = True) -> None:
        """Takes that back."""
        bit = self._bits[node]
        if serial and not self._open_serial & bit:
            self._open_serial ^= bit
            self._enter(self._used[node], bit)
        if mpi:
            self._open_mpi |= bit

    def open_count(self, *, mpi: bool) -> int:
        """How many nodes are open for MPI jobs, or for serial ones."""
        return (self._open_mpi if mpi else self._open_serial).bit_count()

    def is_open(self, node: int, *, mpi: bool) -> bool:
        """Whether a node is open for MPI jobs, or for serial ones."""
        return bool((self._open_mpi if mpi else self._open_serial) & self._bits[node])

    def could_hold(self, need: Need) -> bool:
        """Whether it would fit if all nodes were empty and open; if not, it never will."""
        if not need.own:
            return need.nodes <= self.size
        sizes = (need.cores, math.ceil(need.gpus))
        able = self._able.get(sizes)
        if able is None:
            able = sum(cores >= sizes[0] and gpus >= sizes[1] for cores, gpus in self._sizes)
            self._able[sizes] = able
        return need.nodes <= able

    # Taking and giving back

    def place(self, need: Need) -> Seats | None:
        """Takes nodes for a job; None: there is no room now, and nothing was taken."""
        if need.mpi:
            return self._place_on_whole_nodes(need)
        node = self._choose(need)
        if node is None:
            return None
        self._change(node, units(need.share))
        return Seats(need, (self._take(node, need),) if need.own else self._plain[node])

    def free(self, seats: Seats) -> None:
        """Gives back what `place` gave."""
        need = seats.need
        amount = units(need.share)
        for seat in seats.seats:
            self._change(seat.node, -amount)
            if need.own and not need.mpi:
                self._give_back(seat, need)

    def _choose(self, need: Need) -> int | None:
        """The fullest node that has room: so whole nodes stay free for those who need them."""
        last = bisect_right(self._amounts, UNITS - units(need.share))
        if not need.own:
            return _lowest(self._by_used[self._amounts[last - 1]]) if last else None
        able = self._having(need)
        for position in range(last - 1, -1, -1) if able else ():
            fitting = self._by_used[self._amounts[position]] & able
            if fitting:
                return _lowest(fitting)
        return None

    def _having(self, need: Need) -> int:
        """The nodes that have such cores and GPUs free."""
        able = -1
        if need.cores:
            able &= self._free_cores.nodes(need.cores)
        if need.gpus >= 1:
            able &= self._free_gpus.nodes(int(need.gpus))
        elif need.gpus:
            able &= self._free_gpus.nodes(1) | self._begun(units(need.gpus))
        return able

    def _begun(self, fraction: int) -> int:
        if fraction not in self._begun_gpus:
            having = (bit for bit, gpus in zip(self._bits, self._gpus, strict=True) if gpus.most_left >= fraction)
            self._begun_gpus[fraction] = sum(having)
        return self._begun_gpus[fraction]

    def _place_on_whole_nodes(self, need: Need) -> Seats | None:
        able = self._empty & self._open_mpi & (self._having(need) if need.own else -1)
        if able.bit_count() < need.nodes:
            return None
        gpus = tuple(range(int(need.gpus)))
        chosen = _first(able, need.nodes)
        for node in chosen:
            self._change(node, UNITS)
        return Seats(need, tuple([Seat(node, (), gpus) for node in chosen]))

    # Books

    def _change(self, node: int, amount: int) -> None:
        """More of a node is used, or less."""
        before, bit = self._used[node], self._bits[node]
        after = before + amount
        if after < 0:
            raise AssertionError("more is given back than was taken")
        self._used[node] = after
        self._total += amount
        if not before or not after:
            self._empty ^= bit
        if self._open_serial & bit:
            self._leave(before, bit)
            self._enter(after, bit)

    def _leave(self, used: int, bit: int) -> None:
        left = self._by_used[used] ^ bit
        if left:
            self._by_used[used] = left
        else:
            del self._by_used[used], self._amounts[bisect_left(self._amounts, used)]

    def _enter(self, used: int, bit: int) -> None:
        there = self._by_used.get(used, 0)
        if not there:
            insort(self._amounts, used)
        self._by_used[used] = there | bit

    def _take(self, node: int, need: Need) -> Seat:
        cores: tuple[int, ...] = ()
        gpus: tuple[int, ...] = ()
        if need.cores:
            left = self._cores[node].left
            cores = self._cores[node].take(need.cores)
            self._free_cores.change(self._bits[node], left, left - need.cores)
        if need.gpus:
            free = self._gpus[node].free
            gpus = self._gpus[node].take(need.gpus)
            self._gpus_changed(node, free)
        return Seat(node, cores, gpus)

    def _give_back(self, seat: Seat, need: Need) -> None:
        if need.cores:
            left = self._cores[seat.node].left
            self._cores[seat.node].give_back(seat.cores)
            self._free_cores.change(self._bits[seat.node], left, left + need.cores)
        if need.gpus:
            free = self._gpus[seat.node].free
            self._gpus[seat.node].give_back(seat.gpus, need.gpus)
            self._gpus_changed(seat.node, free)

    def _gpus_changed(self, node: int, free_before: int) -> None:
        gpus, bit = self._gpus[node], self._bits[node]
        self._free_gpus.change(bit, free_before, gpus.free)
        for fraction, nodes in self._begun_gpus.items():
            self._begun_gpus[fraction] = nodes | bit if gpus.most_left >= fraction else nodes & ~bit


def _lowest(nodes: int) -> int:
    return (nodes & -nodes).bit_length() - 1


def _first(nodes: int, count: int) -> Iterable[int]:
    """The lowest `count` nodes of a set."""
    chosen = []
    for _ in range(count):
        lowest = nodes & -nodes
        nodes ^= lowest
        chosen.append(lowest.bit_length() - 1)
    return chosen
