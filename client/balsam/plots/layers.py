"""Places for the boxes of a graph: levels from top to bottom, and within a level such that few edges cross. Pure.

The method is that of K. Sugiyama, S. Tagawa, M. Toda, "Methods for Visual Understanding of Hierarchical System
Structures", IEEE Trans. Syst. Man Cybern. 11 (1981), 109-125, in its simplest form: each level is sorted by the mean
place of the neighbours above, then below, a few times over. A level that is too long is broken into rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

_SWEEPS = 8
ROW = 12
"""Boxes in a row, at most."""


def layout(levels: Sequence[int], edges: Collection[tuple[int, int]], row: int = ROW) -> list[tuple[float, int]]:
    """Where each box goes: how far to the right its middle is, in boxes, and in which row it is, from 0 on top.

    Args:
        levels: of each box.
        edges: places of parents and children; parents have lower levels.
        row: boxes in a row, at most.
    """
    above, below = _neighbours(edges)
    ordered = _ordered(levels, above, below)
    widest = max((-(-len(level) // -(-len(level) // row)) for level in ordered), default=0)
    found: list[tuple[float, int]] = [(0.0, 0)] * len(levels)
    number = 0
    for level in ordered:
        rows = -(-len(level) // row)
        size = -(-len(level) // rows) if rows else 0
        for first in range(0, len(level), size or 1):
            members = level[first : first + size]
            indent = (widest - len(members)) / 2
            for place, box in enumerate(members):
                found[box] = (indent + place + 0.5, number)
            number += 1
    return found


def _neighbours(edges: Collection[tuple[int, int]]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    above: dict[int, list[int]] = defaultdict(list)
    below: dict[int, list[int]] = defaultdict(list)
    for parent, child in edges:
        above[child].append(parent)
        below[parent].append(child)
    return above, below


def _ordered(levels: Sequence[int], above: Mapping[int, list[int]], below: Mapping[int, list[int]]) -> list[list[int]]:
    ordered: list[list[int]] = [[] for _ in range(max(levels, default=-1) + 1)]
    for box, level in enumerate(levels):
        ordered[level].append(box)
    for sweep in range(_SWEEPS):
        neighbours = below if sweep % 2 else above
        place = _relative(ordered)
        for members in ordered[::-1] if sweep % 2 else ordered:
            # Each is sorted before the next one, which needs its places.
            means = {box: _mean([place[other] for other in neighbours.get(box, ())], place[box]) for box in members}
            members.sort(key=means.__getitem__)
            place.update(_relative([members]))
    return ordered


def _relative(ordered: Sequence[Sequence[int]]) -> dict[int, float]:
    """Box -> its place in its level, from 0 to 1."""
    return {box: (place + 0.5) / len(level) for level in ordered for place, box in enumerate(level)}


def _mean(places: Sequence[float], otherwise: float) -> float:
    return sum(places) / len(places) if places else otherwise
