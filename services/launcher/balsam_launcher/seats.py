"""What runs take of a node: a share of it, cores, GPUs. No I/O, no clock.

Shares are counted in whole units, so that nothing drifts: k jobs of 1/k always fit, and never one more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

UNITS = 1 << 40
"""Of one node, and of one GPU."""


def units(share: float) -> int:
    """A share of a node or of a GPU, more than 0 and at most 1, in units."""
    return int(share * UNITS)


class Seat(NamedTuple):
    """What a run has of one node."""

    node: int
    cores: tuple[int, ...] = ()
    """Numbers of the cores that it is bound to, from 0; empty: it is not bound."""
    gpus: tuple[int, ...] = ()
    """Numbers of the GPUs that are assigned to it, in the order of `Node.gpus`."""


class Room:
    """How full one node is, for whoever keeps the books of that alone."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = UNITS

    def has(self, share: float) -> bool:
        """Whether so much is left."""
        return units(share) <= self._left

    def take(self, share: float) -> None:
        """Takes a share, which must be there."""
        self._left -= units(share)

    def give_back(self, share: float) -> None:
        """Gives back what was taken."""
        self._left += units(share)
        if self._left > UNITS:
            raise AssertionError("more is given back than was taken")


class Cores:
    """The cores of one node: which are bound to a run."""

    __slots__ = ("_free",)

    def __init__(self, count: int) -> None:
        self._free = (1 << count) - 1

    @property
    def left(self) -> int:
        """How many are free."""
        return self._free.bit_count()

    def take(self, count: int) -> tuple[int, ...]:
        """The first that are free; there must be so many."""
        taken = []
        for _ in range(count):
            lowest = self._free & -self._free
            self._free ^= lowest
            taken.append(lowest.bit_length() - 1)
        return tuple(taken)

    def give_back(self, numbers: Sequence[int]) -> None:
        """Gives back what was taken."""
        for number in numbers:
            if self._free >> number & 1:
                raise AssertionError(f"core {number} is given back twice")
            self._free |= 1 << number


class Gpus:
    """The GPUs of one node: each is free, assigned as a whole, or begun: shared by runs that take fractions."""

    __slots__ = ("_left",)

    def __init__(self, count: int) -> None:
        self._left = [UNITS] * count

    @property
    def free(self) -> int:
        """How many nobody uses."""
        return self._left.count(UNITS)

    @property
    def most_left(self) -> int:
        """The most that is left of one that is begun, in units; 0: none is."""
        return max((left for left in self._left if left < UNITS), default=0)

    def take(self, count: float) -> tuple[int, ...]:
        """Whole ones, or a fraction of one: of the fullest that is begun and has so much left, else of a free one."""
        if count >= 1:
            taken = [number for number, left in enumerate(self._left) if left == UNITS][: int(count)]
            for number in taken:
                self._left[number] = 0
            return tuple(taken)
        wanted = units(count)
        fits = [(left, number) for number, left in enumerate(self._left) if left >= wanted]
        _, number = min(fits)
        self._left[number] -= wanted
        return (number,)

    def give_back(self, numbers: Sequence[int], count: float) -> None:
        """Gives back what `take` gave for this count."""
        for number in numbers:
            self._left[number] += UNITS if count >= 1 else units(count)
            if self._left[number] > UNITS:
                raise AssertionError(f"more of GPU {number} is given back than was taken")


def gpu_share(gpus_per_rank: float) -> float:
    """What one rank takes: whole GPUs, or such a fraction of one that as many as can share it.

    0.5 lets two share a GPU, 0.3 three; more than 1 is rounded up to whole ones.
    """
    if gpus_per_rank >= 1:
        return float(math.ceil(gpus_per_rank))
    return 1.0 / sharing(gpus_per_rank) if gpus_per_rank > 0 else 0.0


def sharing(gpus_per_rank: float) -> int:
    """How many ranks share a GPU; 1: none does."""
    return 1 if gpus_per_rank >= 1 else math.floor(1 / gpus_per_rank + 1e-9)


def gpus_of_ranks(ranks: int, gpus_per_rank: float) -> int:
    """How many GPUs of a node so many ranks need. Ranks that share one are neighbours."""
    if gpus_per_rank <= 0:
        return 0
    if gpus_per_rank >= 1:
        return ranks * math.ceil(gpus_per_rank)
    return math.ceil(ranks / sharing(gpus_per_rank))
