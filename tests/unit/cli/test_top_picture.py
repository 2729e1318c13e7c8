"""What `balsam top` works out from what it has seen."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam_cli.top.picture import Picture, Rates, Run, bar, rows, shortened, since, sorted_runs

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


def test_rates_are_those_of_the_last_seconds() -> None:
    rates = Rates()
    assert rates.add(Picture(0.0, {"JOB_FINISHED": 100}))["JOB_FINISHED"] == 0
    assert rates.add(Picture(5.0, {"JOB_FINISHED": 150}))["JOB_FINISHED"] == 10
    for second in range(6, 40):
        now = rates.add(Picture(float(second), {"JOB_FINISHED": 150, "FAILED": 2 * second}))
    assert now["JOB_FINISHED"] == 0
    assert now["FAILED"] == pytest.approx(2, rel=0.2)


def test_jobs_that_were_deleted_are_no_rate_and_a_filter_begins_anew() -> None:
    rates = Rates()
    rates.add(Picture(0.0, {"FAILED": 10}))
    assert rates.add(Picture(1.0, {"FAILED": 3}))["FAILED"] == 0
    rates.clear()
    assert rates.add(Picture(2.0, {"FAILED": 1000}))["FAILED"] == 0


@given(st.integers(0, 2_000_000), st.integers(0, 2_000_000), st.integers(1, 80))
def test_a_bar_is_as_wide_as_it_shall_be_and_shows_what_is_not_nothing(part: int, whole: int, width: int) -> None:
    drawn = bar(part, whole, width)
    assert len(drawn) == width
    assert bool(drawn.strip()) == (part > 0 and whole > 0)
    if part >= whole > 0:
        assert drawn == "█" * width


def test_states_are_in_the_order_of_the_graph_and_ends_are_always_there() -> None:
    shown = rows({"RUNNING": 2, "CREATED": 1}, {"FAILED": 0.5})
    assert [row.state for row in shown] == ["CREATED", "RUNNING", "JOB_FINISHED", "FAILED", "USER_KILLED"]
    assert [row.rate for row in shown] == [None, None, None, 0.5, None]


def test_runs_are_sorted() -> None:
    late = Run("1", "b", "w", "", "n1", NOON)
    early = Run("2", "a", "x", "", "n2", NOON - datetime.timedelta(hours=1))
    unknown = Run("3", "c", "v", "")
    runs = [late, unknown, early]
    assert sorted_runs(runs, "time") == [early, late, unknown]
    assert sorted_runs(runs, "name") == [early, late, unknown]
    assert sorted_runs(runs, "workflow") == [unknown, late, early]
    assert sorted_runs(runs, "node") == [unknown, late, early]


def test_times_and_nodes_in_a_few_words() -> None:
    assert since(NOON, NOON + datetime.timedelta(seconds=200)) == "3m20s"
    assert since(None, NOON) == ""
    assert [shortened(nodes) for nodes in ((), ("n1",), ("n1", "n2"), ("n1", "n2", "n3"))] == [
        "",
        "n1",
        "n1, n2",
        "n1 and 2 more",
    ]
