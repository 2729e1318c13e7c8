"""Nodes that get nothing more, for now or for good: out of reach, under suspicion, set aside. No I/O, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from balsam_launcher.placement import Placement

MOST_DEATHS = 5
"""A node whose agent was lost so often without a run that ended well in between is set aside."""


class ClosedNodes:
    """Which nodes of a launcher are closed, and why.

    Args:
        placement: where they are closed and opened.
        is_suspect: whether a node may be to blame for failures, by what is known now.
        is_reached: whether its agent is within reach, or it needs none.
    """

    def __init__(
        self, placement: Placement, *, is_suspect: Callable[[int], bool], is_reached: Callable[[int], bool]
    ) -> None:
        self._placement = placement
        self._is_suspect = is_suspect
        self._is_reached = is_reached
        self._suspended: set[int] = set()
        self._deaths: Counter[int] = Counter()
        self.aside: dict[int, str] = {}
        """Those that are set aside, for good, by number, and why."""

    @property
    def suspends(self) -> bool:
        """Whether any is under suspicion."""
        return bool(self._suspended)

    def suspend(self, nodes: Iterable[int]) -> None:
        """Those of these that may be to blame for many failures get nothing more until that is known."""
        for node in nodes:
            if node not in self._suspended and self._is_suspect(node):
                self._suspended.add(node)
                self._placement.close(node)

    def look(self) -> None:
        """More is known: those that are suspects no more are opened again."""
        for node in [node for node in self._suspended if not self._is_suspect(node)]:
            self._suspended.discard(node)
            self.reached(node)

    def reached(self, node: int) -> None:
        """Opens a node, unless something else keeps it closed."""
        if node not in self.aside and node not in self._suspended and self._is_reached(node):
            self._placement.open(node)

    def close(self, node: int) -> None:
        """It is out of reach."""
        self._placement.close(node)

    def set_aside(self, node: int, reason: str) -> None:
        """Closes a node for good."""
        self.aside[node] = reason
        self._placement.close(node)

    def died(self, node: int) -> bool:
        """The agent of a node was lost, by its own doing. Returns whether that has happened too often."""
        self._deaths[node] += 1
        return self._deaths[node] >= MOST_DEATHS

    def did_well(self, node: int) -> None:
        """A run has ended well there: what was lost before was chance."""
        self._deaths.pop(node, None)
