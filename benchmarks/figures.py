"""What is measured, and what came out in each round. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.harness import Bench


@dataclass(frozen=True)
class Figure:
    """Something that is measured in every round.

    Attributes:
        key: names it in files and among the goals, for example ``w1.many``.
        title: names it for people.
        unit: of its values, for example ``jobs/s``.
        more_is_better: whether a larger value is the better one.
        limit: what bounds it on any machine, measured in the same rounds and in the same unit; empty: nothing known.
    """

    key: str
    title: str
    unit: str
    more_is_better: bool = False
    limit: str = ""


@dataclass(frozen=True)
class Workload:
    """One thing that a user does.

    Attributes:
        key: names it on the command line.
        title: what is done.
        figures: what is measured.
        measure: does it, in as many rounds as asked for, and records the figures.
    """

    key: str
    title: str
    figures: tuple[Figure, ...]
    measure: Callable[[Bench], None]


@dataclass
class Series:
    """A figure over one database: a value for each round, and where there is one, its limit in the same round."""

    figure: Figure
    database: str
    rounds: list[float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The value that counts, in the figure's unit."""
        return statistics.median(self.rounds)

    @property
    def limit(self) -> float | None:
        """Median of the limit, in the figure's unit; None: there is none."""
        return statistics.median(self.limits) if self.limits else None

    @property
    def ratios(self) -> list[float]:
        """Value over limit, round by round; empty without a limit."""
        return [value / limit for value, limit in zip(self.rounds, self.limits, strict=True)] if self.limits else []

    @property
    def ratio(self) -> float | None:
        """Median of the ratios; None: there is no limit."""
        return statistics.median(self.ratios) if self.limits else None


class Skipped(Exception):
    """A workload cannot be measured here; the message says why."""


class WrongResult(Exception):
    """What was timed has not done what it should: its time means nothing."""
