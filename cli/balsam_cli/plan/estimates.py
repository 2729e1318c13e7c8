"""How long the runs of each kind of jobs will take, from the history, or from what the jobs say. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from balsam.run_times import LEAST, RunTimes, quantile
from balsam_cli.plan.work import Kind

STRATA = 5
"""Lengths that stand for all: the mean of the shortest fifth of the runs, and so on."""
_HANG = 10.0  # what took so much longer than nine in ten of them is an accident, and counts as so long
_SURE = 2.0  # standard errors of a mean, for 95 %
_NOTHING_KNOWN = 0.5  # of what jobs say of themselves, the least that is counted on


@dataclass(frozen=True)
class Estimate:
    """How long runs take.

    Attributes:
        lengths: of the shortest fifth of them, and so on [s]; one, where nothing but the jobs' word is known.
        low: by what to multiply for the least that is likely.
        high: by what to multiply for the most that is likely.
        runs: how many were looked at; 0: `wall_time_minutes` of the jobs is all that is known.
    """

    lengths: tuple[float, ...]
    low: float
    high: float
    runs: int = 0

    @property
    def mean(self) -> float:
        """Of all runs [s]."""
        return sum(self.lengths) / len(self.lengths)

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        return "history" if self.runs else "wall_time_minutes"

    def record(self, kind: Kind, jobs: int) -> dict[str, Any]:
        """As plain data for `--json`."""
        return {
            "application": kind.application,
            "num_nodes": kind.nodes,
            "wall_time_minutes": kind.wall_minutes,
            "jobs": jobs,
            "runs_seen": self.runs,
            "source": self.source,
            "mean_seconds": self.mean,
            "low_mean_seconds": self.mean * self.low,
            "high_mean_seconds": self.mean * self.high,
        }


def estimate(times: RunTimes, kind: Kind) -> Estimate:
    """How long the runs of a kind of jobs take."""
    seen = times.lengths(kind.application, kind.nodes)
    if len(seen) < LEAST:
        return Estimate((60.0 * max(kind.wall_minutes, 1),), _NOTHING_KNOWN, 1.0)
    return of_lengths(seen)


def of_lengths(seen: Sequence[float]) -> Estimate:
    """How long runs take of which some were seen.

    Args:
        seen: how long they took, rising [s]; `LEAST` at least.
    """
    longest = _HANG * quantile(seen, 0.9)
    kept = [min(one, longest) for one in seen]
    count = len(kept)
    strata = [kept[count * place // STRATA : count * (place + 1) // STRATA] for place in range(STRATA)]
    mean = sum(kept) / count
    spread = math.sqrt(sum((one - mean) ** 2 for one in kept) / (count - 1))
    doubt = _SURE * spread / math.sqrt(count) / mean if mean else 0.0
    lengths = tuple(sum(part) / len(part) for part in strata)
    return Estimate(lengths, max(1 - doubt, kept[0] / mean if mean else 1.0), 1 + doubt, count)
