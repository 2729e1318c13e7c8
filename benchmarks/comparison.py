"""What got slower since an earlier run, beyond what differs between rounds anyway. No I/O.

Two runs hours apart find the machine in different moods. A figure that has a limit is therefore compared as a share of
it: the limit was measured in the same rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import Series
from benchmarks.report import number, series_of, table

LEAST = 0.05
"""A smaller change of the median, as a share of it, is none, however close together the rounds are."""

_SAME = ("scale", "profiled")
_SAME_MACHINE = ("cores", "memory_bytes", "kernel", "filesystem", "python", "sqlite", "postgres")


@dataclass(frozen=True)
class Change:
    """A figure in two runs.

    Attributes:
        series: the figure now.
        before: its median then, in `unit`.
        after: its median now.
        unit: the figure's, or "of limit".
        better: by how much it is better now, as a share of what it was; worse: negative.
        spread: by how much rounds of one run differ, as a share of their median: the wider of the two runs.
    """

    series: Series
    before: float
    after: float
    unit: str
    better: float
    spread: float

    @property
    def verdict(self) -> str:
        """``slower``, ``faster``, or ``same`` within the spread. A figure in bytes can be slower, too."""
        if abs(self.better) <= max(self.spread, LEAST):
            return "same"
        return "faster" if self.better > 0 else "slower"


def compare(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[Change]:
    """The figures that both documents have.

    Raises:
        ValueError: the documents cannot be compared: of another format, or runs of other sizes.
    """
    for name in _SAME:
        if now.get(name) != then.get(name):
            raise ValueError(f"its {name} is {then.get(name)!r}, and that of this run {now.get(name)!r}")
    earlier = {(series.figure.key, series.database): series for series in series_of(then)}
    pairs = [(series, earlier.get((series.figure.key, series.database))) for series in series_of(now)]
    return [_change(series, before) for series, before in pairs if before is not None]


def _change(now: Series, then: Series) -> Change:
    by_limit = bool(now.limits and then.limits)
    before, after = (series.ratios if by_limit else series.rounds for series in (then, now))
    old, new = statistics.median(before), statistics.median(after)
    sign = 1 if now.figure.more_is_better else -1
    # What was nothing (a count of scans) and is something has got worse without end.
    better = sign * (new - old) / old if old else sign * float("inf") * (new > 0) if new else 0.0
    unit = "of limit" if by_limit else now.figure.unit
    return Change(now, old, new, unit, better, max(_spread(before), _spread(after)))


def _spread(rounds: Sequence[float]) -> float:
    middle = statistics.median(rounds)
    return (max(rounds) - min(rounds)) / middle if middle else 0.0


def text(changes: Sequence[Change], now: Mapping[str, Any], then: Mapping[str, Any]) -> str:
    """The comparison for people."""
    titles = ("figure", "database", "title", "before", "now", "unit", "better by", "spread", "")
    rows = [
        (
            change.series.figure.key,
            change.series.database,
            change.series.figure.title,
            number(change.before),
            number(change.after),
            change.unit,
            f"{change.better:+.1%}",
            f"{change.spread:.1%}",
            "" if change.verdict == "same" else change.verdict.upper(),
        )
        for change in changes
    ]
    lines = table(titles, rows, right={"before", "now", "better by", "spread"})
    lines += [
        f"another machine: its {name} was {then['machine'].get(name)}, and is {now['machine'].get(name)}"
        for name in _SAME_MACHINE
        if then["machine"].get(name) != now["machine"].get(name)
    ]
    return "\n".join(lines)
