"""What counts as slower: more than rounds differ by anyway."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import comparison, report
from benchmarks.figures import Figure, Series

MACHINE = dict.fromkeys(("cores", "memory_bytes", "kernel", "filesystem", "python", "sqlite", "postgres"), 1)
SECONDS = Figure("a.seconds", "time", "s")
RATE = Figure("a.rate", "rate", "jobs/s", more_is_better=True)
SHARE = Figure("a.share", "rate", "jobs/s", more_is_better=True, limit="raw rate")


def document(*series: Series, scale: str = "full", **machine: int) -> dict[str, Any]:
    return report.document(series, MACHINE | machine, scale=scale, profiled=False, skipped={}, failed={})


def verdict(figure: Figure, before: list[float], after: list[float]) -> str:
    then, now = (document(Series(figure, "sqlite", rounds)) for rounds in (before, after))
    (change,) = comparison.compare(now, then)
    return change.verdict


@pytest.mark.parametrize(
    ("figure", "before", "after", "expected"),
    [
        (SECONDS, [1.0, 1.01, 1.02], [1.2, 1.21, 1.22], "slower"),
        (SECONDS, [1.0, 1.01, 1.02], [0.8, 0.81, 0.82], "faster"),
        (RATE, [1.0, 1.01, 1.02], [1.2, 1.21, 1.22], "faster"),
        (RATE, [1.0, 1.01, 1.02], [0.8, 0.81, 0.82], "slower"),
        (SECONDS, [1.0, 1.2, 1.4], [1.3, 1.35, 1.4], "same"),  # rounds differed by as much before
        (SECONDS, [1.0, 1.01, 1.02], [0.9, 1.2, 1.4], "same"),  # and these differ by more
        (SECONDS, [1.0, 1.0, 1.0], [1.04, 1.04, 1.04], "same"),  # too little to mean anything
        (SECONDS, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], "same"),
        (SECONDS, [0.0, 0.0, 0.0], [3.0, 3.0, 3.0], "slower"),  # what did not happen, and now does
        (SECONDS, [3.0, 3.0, 3.0], [0.0, 0.0, 0.0], "faster"),
    ],
)
def test_a_change_counts_beyond_the_spread(
    figure: Figure, before: list[float], after: list[float], expected: str
) -> None:
    assert verdict(figure, before, after) == expected


def test_a_figure_with_a_limit_is_compared_as_a_share_of_it() -> None:
    """The whole machine was slower: that is nobody's fault."""
    then = Series(SHARE, "sqlite", [700.0, 710.0, 720.0], [1000.0, 1000.0, 1000.0])
    slow_machine = Series(SHARE, "sqlite", [350.0, 355.0, 360.0], [500.0, 500.0, 500.0])
    slow_code = Series(SHARE, "sqlite", [350.0, 355.0, 360.0], [1000.0, 1000.0, 1000.0])
    assert [c.verdict for c in comparison.compare(document(slow_machine), document(then))] == ["same"]
    (change,) = comparison.compare(document(slow_code), document(then))
    assert (change.verdict, change.unit, change.before, change.after) == ("slower", "of limit", 0.71, 0.355)


def test_only_what_both_have_is_compared() -> None:
    one, other = Series(SECONDS, "sqlite", [1.0]), Series(SECONDS, "postgres", [9.0])
    assert comparison.compare(document(one), document(other)) == []
    (change,) = comparison.compare(document(one, other), document(other))
    assert change.series.database == "postgres"


@pytest.mark.parametrize("difference", [{"scale": "small"}, {"profiled": True}, {"format": 0}])
def test_runs_of_another_kind_are_refused(difference: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"its {next(iter(difference))} is"):
        comparison.compare(document(), document() | difference)


def test_the_text_says_what_got_slower_and_whether_it_was_another_machine() -> None:
    then, now = document(Series(SECONDS, "sqlite", [1.0])), document(Series(SECONDS, "sqlite", [2.0]), cores=8)
    text = comparison.text(comparison.compare(now, then), now, then)
    assert "-100.0%" in text
    assert "SLOWER" in text
    assert "another machine: its cores was 1, and is 8" in text
