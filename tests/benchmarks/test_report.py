"""Goals, the table and the JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import goals, machine, report
from benchmarks.figures import Figure, Series
from benchmarks.goals import GOALS, Goal
from benchmarks.harness import percentile
from benchmarks.workloads import WORKLOADS, find

RATE = Figure("w1.few", "2,000 no-op jobs", "jobs/s", more_is_better=True, limit="raw process starts")
SECONDS = Figure("w4.chain", "chain of 50 no-op jobs", "s")


def test_every_figure_is_named_once_and_by_its_workload() -> None:
    keys = [figure.key for workload in WORKLOADS for figure in workload.figures]
    assert len(keys) == len(set(keys))
    assert all(figure.key.startswith(f"{load.key}.") for load in WORKLOADS for figure in load.figures)


def test_every_goal_is_that_of_a_figure_and_a_share_only_where_there_is_a_limit() -> None:
    figures = {figure.key: figure for workload in WORKLOADS for figure in workload.figures}
    assert GOALS.keys() <= figures.keys()
    assert all(not goal.of_limit or figures[key].limit for key in GOALS for goal in GOALS[key].values())


def test_a_second_goal_is_the_harder_one() -> None:
    figures = {figure.key: figure for workload in WORKLOADS for figure in workload.figures}
    pairs = [(figures[key], goal) for key, by_database in GOALS.items() for goal in by_database.values()]
    wrong = [
        figure.key
        for figure, goal in pairs
        if goal.second is not None and (goal.second > goal.first) != figure.more_is_better
    ]
    assert wrong == []


def test_a_workload_is_found_by_its_key() -> None:
    assert find("W1") is WORKLOADS[0]
    with pytest.raises(ValueError, match="no workload 'w99'; there are w1, w2,"):
        find("w99")


@pytest.mark.parametrize(("value", "expected"), [(0.31, 0), (0.3, 1), (0.2, 1), (0.15, 2), (0.1, 2)])
def test_smaller_values_reach_more(value: float, expected: int) -> None:
    assert goals.reached(Series(SECONDS, "sqlite", [value]), Goal(0.3, 0.15)) == expected


@pytest.mark.parametrize(("rate", "expected"), [(699.0, 0), (700.0, 1), (799.0, 1), (800.0, 2)])
def test_a_share_of_the_limit_is_taken_over_that_of_the_same_round(rate: float, expected: int) -> None:
    goal = Goal(0.70, 0.80, of_limit=True)
    assert goals.reached(Series(RATE, "sqlite", [rate], [1000.0]), goal) == expected
    # The limit of another round does not count: 2 of 3 rounds are at 0.9.
    rounds = Series(RATE, "sqlite", [900.0, 450.0, 100.0], [1000.0, 500.0, 1000.0])
    assert rounds.ratio == 0.9
    assert goals.reached(rounds, goal) == 2


def test_a_share_of_no_limit_is_an_error() -> None:
    with pytest.raises(ValueError, match="not measured"):
        goals.reached(Series(SECONDS, "sqlite", [1.0]), Goal(0.7, of_limit=True))


def test_a_row_says_what_was_reached() -> None:
    series = Series(RATE, "sqlite", [1500.0, 1520.0, 1400.0], [2000.0, 2000.0, 2000.0])
    assert report.row(series, judged=True) == (
        *("w1", "sqlite", "2,000 no-op jobs", "1,500", "1,400–1,520", "jobs/s", "0.75", "0.7 / 0.8 of limit"),
        "the first",
    )
    assert report.row(series, judged=False)[-2:] == ("", "")


def test_the_table_says_which_figures_mean_nothing_and_what_was_left_out(tmp_path: Path) -> None:
    about = machine.describe(tmp_path) | {"load": 4.25}
    series = [Series(RATE, "sqlite", [1500.0], [2000.0]), Series(SECONDS, "postgres", [0.2])]
    document = report.document(
        series, about, scale="small", profiled=True, skipped={"w11 over sqlite": "no MPI"}, failed={"w2": "it broke"}
    )
    text = report.text(document)
    for expected in (
        f"{about['cores']} cores",
        "chain of 50 no-op jobs",
        "the load was 4.2",
        "2,000 jobs/s  raw process starts",
        "skipped w11 over sqlite: no MPI",
        "FAILED w2: it broke",
        "nothing about speed",
        "profiled",
    ):
        assert expected in text
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_json_holds_every_round(tmp_path: Path) -> None:
    series = [Series(RATE, "sqlite", [1500.0, 1400.0], [2000.0, 2100.0]), Series(SECONDS, "postgres", [0.2])]
    document = report.document(series, machine.describe(tmp_path), scale="full", profiled=False, skipped={}, failed={})
    read = json.loads(json.dumps(document))
    assert report.series_of(read) == series
    assert read["figures"][0]["goal"] == {"first": 0.7, "second": 0.8, "of_limit": True}
    assert read["machine"].keys() >= {"cores", "memory_bytes", "kernel", "python", "sqlite", "postgres"}


@pytest.mark.parametrize(
    ("value", "text"), [(1234567.0, "1,234,567"), (1000.0, "1,000"), (42.123, "42.1"), (0.01234, "0.0123"), (0.0, "0")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert report.number(value) == text


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(i) for i in range(1, 101)]
    assert percentile(values, 0.99) == 99.0
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 1.0) == 100.0
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
