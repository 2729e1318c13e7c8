"""Moves of jobs -> counts over time, without I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.plots.bins import MOST
from balsam.plots.durations import Durations
from balsam.plots.series import Collector, Present, Series
from balsam.states import State

S = State
NOON = 1_900_000_000_000_000
"""Some moment [us since 1970]."""
SECOND = 1_000_000


def integral(series: Series, state: str) -> float:
    """Jobs times seconds in a state."""
    return sum(count * width for count, width in zip(series.jobs.get(state, ()), series.widths, strict=False))


def one_run(collector: Collector, key: int, created: int, start: int, end: int) -> None:
    """A job that is made, runs and finishes at these moments [s after noon]."""
    collector.add(key, NOON + created * SECOND, (S.CREATED, S.READY, S.STAGED_IN, S.PREPROCESSED))
    collector.add(key, NOON + start * SECOND, (S.RUNNING,))
    collector.add(key, NOON + end * SECOND, (S.RUN_DONE, S.POSTPROCESSED, S.JOB_FINISHED))


def test_the_counts_of_three_jobs() -> None:
    collector = Collector()
    for key, (start, end) in enumerate([(10, 40), (10, 60), (40, 80)]):
        one_run(collector, key, 0, start, end)
    series = collector.series(NOON + 1000 * SECOND)
    assert (series.total, series.edges[0], series.edges[-1]) == (3, NOON / 1e6, NOON / 1e6 + 80)
    assert integral(series, "RUNNING") == pytest.approx(30 + 50 + 40)
    assert integral(series, "PREPROCESSED") == pytest.approx(10 + 10 + 40)
    assert max(series.jobs["RUNNING"]) == pytest.approx(2)
    assert sum(series.entered["RUN_DONE"]) == 3
    assert "FAILED" not in series.jobs
    stay = series.stays["RUNNING"]
    assert (stay.count, stay.mean) == (3, 40)
    assert stay.median == pytest.approx(40, rel=0.06)
    assert series.stays["CREATED"].high == 0
    assert "JOB_FINISHED" not in series.stays  # nobody has left it


def test_each_moment_is_counted_where_it_belongs() -> None:
    collector = Collector()
    one_run(collector, 1, 0, 100, 200)
    series = collector.series(NOON)
    for (start, end), running in zip(pairwise(series.edges), series.jobs["RUNNING"], strict=True):
        overlap = min(end, NOON / 1e6 + 200) - max(start, NOON / 1e6 + 100)
        assert running == pytest.approx(max(0.0, overlap) / (end - start), abs=1e-6)


def test_a_job_that_has_not_ended_counts_until_now() -> None:
    collector = Collector()
    collector.add(1, NOON, (S.CREATED,))
    collector.add(1, NOON + 10 * SECOND, (S.RUNNING,))
    assert not collector.is_over
    series = collector.series(NOON + 110 * SECOND)
    assert integral(series, "RUNNING") == pytest.approx(100)
    assert series.edges[-1] == NOON / 1e6 + 110


def test_nodes_in_use_by_jobs_of_different_sizes() -> None:
    collector = Collector(nodes_of=lambda key: {1: 4.0, 2: 0.25}[key])
    for key in (1, 2):
        one_run(collector, key, 0, 0, 100)
    series = collector.series(NOON)
    assert sum(nodes * width for nodes, width in zip(series.nodes, series.widths, strict=True)) == pytest.approx(425)


def test_what_was_before_counts_only_for_where_jobs_stood() -> None:
    collector = Collector(since_us=NOON + 50 * SECOND)
    one_run(collector, 1, 0, 10, 100)
    series = collector.series(NOON)
    assert series.edges[0] == NOON / 1e6 + 50
    assert integral(series, "RUNNING") == pytest.approx(50)
    assert sum(series.entered.get("RUNNING", ())) == 0
    assert sum(series.entered["RUN_DONE"]) == 1


def test_a_deleted_job_is_in_no_state_any_more() -> None:
    collector = Collector()
    collector.add(1, NOON, (S.CREATED,))
    collector.add(2, NOON, (S.CREATED,))
    collector.add(1, NOON + 10 * SECOND, (), deleted=True)
    collector.add(3, NOON + 10 * SECOND, (), deleted=True)  # nothing is known of it
    assert integral(collector.series(NOON + 20 * SECOND), "CREATED") == pytest.approx(10 + 20)


def test_no_jobs_and_notes_only() -> None:
    collector = Collector()
    collector.add(1, NOON, ())
    assert collector.series(NOON) == Series()
    assert Series().widths == []
    assert Series().record()["jobs"] == {}


def test_capacity_is_what_launchers_have_while_they_are_there() -> None:
    series = Series(edges=(0.0, 10.0, 20.0), launchers=(Present(5, 20, 4), Present(0, 10, 1)))
    assert series.capacity() == [3.0, 4.0]
    collector = Collector()
    one_run(collector, 1, 0, 0, 50)
    one_run(collector, 2, 0, 50, 100)
    known = collector.series(NOON)
    assert known.utilization() is None
    assert known.with_nodes(2).utilization() == pytest.approx(0.5)
    assert Series().with_nodes(2).utilization() is None


moves = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(-10_000, 10**10),
        st.lists(st.sampled_from(State), min_size=1, max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=60,
)


@given(moves, st.integers(0, 10**10))
def test_times_in_states_add_up_to_the_lives_of_the_jobs(
    events: Sequence[tuple[int, int, tuple[State, ...]]], later: int
) -> None:
    """Whatever the clocks say: the events of a job may be in any order of time."""
    collector = Collector()
    born: dict[int, int] = {}
    for key, offset, states in events:
        born.setdefault(key, NOON + offset)
        collector.add(key, NOON + offset, states)
    series = collector.series(NOON + later)
    assert all(count >= 0 for counts in series.jobs.values() for count in counts)
    assert all(nodes >= 0 for nodes in series.nodes)
    assert 1 <= len(series.widths) <= MOST
    assert all(width > 0 for width in series.widths)
    lives = sum(series.edges[-1] - start / 1e6 for start in born.values())
    assert sum(integral(series, state) for state in series.jobs) == pytest.approx(lives, rel=1e-6, abs=1e-3)
    assert sum(map(sum, series.entered.values())) == sum(len(states) for _, _, states in events)


@given(moves)
def test_the_order_in_which_jobs_are_read_does_not_matter(
    events: Sequence[tuple[int, int, tuple[State, ...]]],
) -> None:
    first, second = Collector(), Collector()
    for key, offset, states in events:
        first.add(key, NOON + offset, states)
    for key, offset, states in sorted(events, key=lambda event: -event[0]):  # stable: of each job in their order
        second.add(key, NOON + offset, states)
    one, other = first.series(NOON), second.series(NOON)
    assert one.edges == other.edges
    assert one.entered == other.entered
    for state in one.jobs:
        assert one.jobs[state] == pytest.approx(other.jobs[state], abs=1e-6)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=200), st.sampled_from([0.1, 0.5, 0.9]))
def test_quantiles_are_right_to_five_percent(lengths: list[int], share: float) -> None:
    durations = Durations()
    for length in lengths:
        durations.add(length)
    exact = sorted(lengths)[max(0, math.ceil(share * len(lengths)) - 1)] / 1e6
    assert durations.quantile(share) == pytest.approx(exact, rel=0.05, abs=1e-6)
    assert durations.mean == pytest.approx(sum(lengths) / len(lengths) / 1e6)
