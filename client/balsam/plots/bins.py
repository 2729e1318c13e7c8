"""Counts over time, in bins that become wider as the times spread, so that any number of events takes the same room.
Pure.

A change of a count is +1 or -1 at a moment. A bin keeps the sum of its changes and the sum of their moments, from which
the mean count in each bin follows exactly, in whichever order the changes came. Two bins are joined by adding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST = 240
"""Bins at most; at least half as many where the times spread further than the narrowest."""
_NARROWEST = 10  # 2^10 microseconds: one millisecond


@dataclass(slots=True)
class Bin:
    """What happened in one bin, for each of several counts.

    Attributes:
        net: sum of the changes.
        moment: sum of changes times their moments [us], from the origin.
        entered: how often something came, where that is counted apart.
    """

    net: list[float]
    moment: list[float]
    entered: list[int]

    def take(self, other: Bin) -> None:
        """Adds what is in another one."""
        self.net = [mine + theirs for mine, theirs in zip(self.net, other.net, strict=True)]
        self.moment = [mine + theirs for mine, theirs in zip(self.moment, other.moment, strict=True)]
        self.entered = [mine + theirs for mine, theirs in zip(self.entered, other.entered, strict=True)]


class Bins:
    """Bins of equal width, 2^shift microseconds; only those where something happened are kept.

    Args:
        counts: how many counts each bin has.
        most: bins from the first to the last, at most.
    """

    def __init__(self, counts: int, most: int = MOST) -> None:
        self.shift = _NARROWEST
        self.origin: int | None = None
        """The first moment that was given [us since 1970]: sums of smaller numbers are more exact."""
        self._counts = counts
        self._most = most
        self._bins: dict[int, Bin] = {}
        self._low = self._high = 0

    @property
    def width_us(self) -> int:
        """Of a bin [us]."""
        return 1 << self.shift

    @property
    def first(self) -> int:
        """Number of the first bin, which begins ``first * width_us`` after 1970."""
        return self._low

    @property
    def last(self) -> int:
        """Number of the last bin."""
        return self._high

    def at(self, time_us: int) -> Bin:
        """The bin of a moment."""
        number = self._reach(time_us)
        found = self._bins.get(number)
        if found is None:
            zeros = [0] * self._counts
            found = self._bins[number] = Bin([*zeros], [*zeros], [*zeros])
        return found

    def get(self, number: int) -> Bin | None:
        """A bin; None: nothing happened there."""
        return self._bins.get(number)

    def _reach(self, time_us: int) -> int:
        """The number of the bin of a moment; widens the bins until they reach so far."""
        number = time_us >> self.shift
        if self.origin is None:
            self.origin = time_us
            self._low = self._high = number
        elif number < self._low or number > self._high:
            low, high = min(self._low, number), max(self._high, number)
            while high - low >= self._most:
                low, high = low >> 1, high >> 1
                self._widen()
            self._low, self._high = low, high
            number = time_us >> self.shift
        return number

    def extend(self, time_us: int) -> None:
        """Has the bins reach to a moment, at which nothing happens."""
        self._reach(time_us)

    def _widen(self) -> None:
        self.shift += 1
        joined: dict[int, Bin] = {}
        for number, one in self._bins.items():
            before = joined.setdefault(number >> 1, one)
            if before is not one:
                before.take(one)
        self._bins = joined

    def means(self, place: int, edges: Sequence[int]) -> list[float]:
        """The mean of a count between each two edges [us since 1970]: the first and the last may lie within a bin,
        those between are the borders of bins. Nothing changes outside."""
        level = 0.0
        means = []
        origin = self.origin or 0
        for index, number in enumerate(range(self._low, self._high + 1)):
            start, end = edges[index], edges[index + 1]
            total = level * (end - start)
            one = self._bins.get(number)
            if one is not None:
                total += one.net[place] * (end - origin) - one.moment[place]
                level += one.net[place]
            # Sums of fractions are not exact: nothing is a hair below zero.
            means.append(max(0.0, total / (end - start)))
        return means
