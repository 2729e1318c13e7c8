"""Waiting jobs, and what has been decided about them. Plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from balsam_scheduler.batch.work import Work


@dataclass(frozen=True)
class Verdict:
    """What becomes of jobs for which nothing is submitted: they are covered, or must wait."""

    work: Work
    jobs: int
    why: str
    covered: bool = False
    never: bool = False
    """Nothing that the policy allows could run them."""


class Waiting:
    """The jobs about which nothing has been decided yet, the largest first, and the verdicts on the others."""

    def __init__(self, works: Iterable[Work]) -> None:
        self.left = {work: work.count for work in sorted(works, key=lambda work: work.order)}
        """How many of each kind."""
        self.verdicts: list[Verdict] = []

    def kinds(self, which: Callable[[Work], bool]) -> list[Work]:
        """The kinds of which some are left, and for which this holds."""
        return [work for work, left in self.left.items() if left and which(work)]

    def settle(
        self, work: Work, why: str, jobs: int | None = None, *, covered: bool = False, never: bool = False
    ) -> None:
        """Says what becomes of so many of these jobs, by default of all that are left."""
        jobs = self.left[work] if jobs is None else jobs
        self.left[work] -= jobs
        self.verdicts.append(Verdict(work, jobs, why, covered, never))

    def give(self, work: Work, jobs: int) -> None:
        """So many of these jobs have a launch now."""
        self.left[work] -= jobs
