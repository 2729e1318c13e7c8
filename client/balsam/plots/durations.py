"""How long something took, many times over, in little room: a histogram with bins that grow by a tenth. Pure."""

from __future__ import annotations

import math
from collections import Counter

_PER_DOUBLING = 8  # bins from one length to its double: quantiles are right to 5 %


class Durations:
    """Lengths of time [us], of which any quantile can be told to 5 %."""

    def __init__(self) -> None:
        self.count = 0
        self.total_us = 0
        self._bins: Counter[int] = Counter()

    def add(self, length_us: int) -> None:
        """Adds a length; 0 is one, too."""
        self.count += 1
        self.total_us += length_us
        self._bins[_bin(length_us)] += 1

    @property
    def mean(self) -> float:
        """Of all [s]; 0 for none."""
        return self.total_us / self.count / 1e6 if self.count else 0.0

    def quantile(self, share: float) -> float:
        """The length below which this share of them is [s]; 0 for none.

        Args:
            share: 0 to 1.
        """
        wanted = share * self.count
        seen = 0
        for number in sorted(self._bins):
            seen += self._bins[number]
            if seen >= wanted:
                return _length(number) / 1e6
        return 0.0


def _bin(length_us: int) -> int:
    return round(math.log2(length_us) * _PER_DOUBLING) if length_us > 0 else -1


def _length(number: int) -> float:
    return 2.0 ** (number / _PER_DOUBLING) if number >= 0 else 0.0
