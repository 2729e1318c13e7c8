"""Sets of nodes, as the bits of whole numbers: node n is in a set if its bit n is 1. Pure.

With thousands of nodes, intersections of such sets cost a fraction of a microsecond.
"""

from __future__ import annotations

from collections.abc import Sequence


class AtLeast:
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


def lowest(nodes: int) -> int:
    """The lowest node of a set that has some."""
    return (nodes & -nodes).bit_length() - 1


def first(nodes: int, count: int) -> list[int]:
    """The lowest `count` nodes of a set."""
    chosen = []
    for _ in range(count):
        bit = nodes & -nodes
        nodes ^= bit
        chosen.append(bit.bit_length() - 1)
    return chosen
