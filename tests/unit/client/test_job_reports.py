"""When jobs entered their states, and the reports of that. No I/O."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.errors import ValidationError
from balsam.event_calls import move
from balsam.history import Move
from balsam.reports import JobTimes, Tally, error_report, process_job_times, throughput_report, utilization_report
from balsam.states import State
from balsam.v1 import event_pb2

NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)
FEW_MOVES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 9),
        st.lists(st.sampled_from([state.name for state in State]), max_size=3),
        st.booleans(),
    ),
    max_size=30,
)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def moved(job_id: str, seconds: float, *states: str) -> Move:
    return Move(job_id, at(seconds), states)


def deleted(job_id: str, seconds: float) -> Move:
    return Move(job_id, at(seconds), deleted=True)


def tallied(*moves: Move, job_ids: Sequence[str] = ()) -> JobTimes:
    tally = Tally()
    tally.add(moves, job_ids)
    return tally.times()


def seconds(times: Sequence[datetime]) -> list[float]:
    return [(time - NOON).total_seconds() for time in times]


def plain(report: tuple[list[datetime], Any]) -> tuple[list[float], list[int]]:
    """A report as seconds after noon, and counts."""
    times, counts = report
    return seconds(times), list(counts)


# What is collected


def test_an_event_as_a_move() -> None:
    event = event_pb2.Event(job_id="a", states=[6, 7], message="exit code 0")
    event.time.FromMicroseconds(1_500_000)
    time = datetime(1970, 1, 1, 0, 0, 1, 500000, UTC)
    assert move(event) == Move("a", time, ("RUNNING", "RUN_DONE"))
    assert move(event_pb2.Event(job_id="a", deleted=True)).deleted


def test_every_time_that_a_state_was_entered() -> None:
    times = tallied(moved("a", 0, "CREATED", "READY"), moved("a", 1, "RUNNING"), moved("b", 2, "CREATED"))
    assert times == {"CREATED": [at(0), at(2)], "READY": [at(0)], "RUNNING": [at(1)]}


def test_a_state_that_no_job_has_entered_has_no_times() -> None:
    assert tallied()["RUN_DONE"] == []
    assert tallied().get("RUN_DONE") is None


def test_a_note_on_a_job_is_no_move() -> None:
    assert utilization_report(tallied(moved("a", 0, "RUNNING"), moved("a", 1)))[0] == [at(0)]


def test_times_of_two_states_belong_together_job_by_job() -> None:
    moves = [
        moved("a", 0, "CREATED"), moved("b", 1, "CREATED"), moved("b", 2, "RUNNING"), moved("a", 3, "RUNNING"),
        moved("a", 4, "RUN_DONE"), moved("b", 9, "RUN_DONE"),
    ]  # fmt: skip
    times = tallied(*moves)
    pairs = zip(times["RUNNING"], times["RUN_DONE"], strict=True)
    assert [(end - start).total_seconds() for start, end in pairs] == [1, 7]
    assert seconds(tallied(*moves, job_ids=["b", "a"])["RUNNING"]) == [2, 3]


def test_a_deleted_job_counts_nowhere() -> None:
    times = tallied(
        moved("a", 0, "RUNNING"), moved("b", 1, "RUNNING"), moved("b", 2, "RUN_DONE"), deleted("b", 3), deleted("a", 4)
    )
    assert (times, times.run_ends) == ({}, [])


def test_the_id_of_a_deleted_job_can_be_used_again() -> None:
    times = tallied(
        moved("a", 0, "RUNNING"), deleted("a", 1), moved("a", 2, "RUNNING"), moved("a", 3, "RUN_DONE")
    )  # fmt: skip
    assert times == {"RUNNING": [at(2)], "RUN_DONE": [at(3)]}
    assert times.run_ends == [at(3)]


def test_a_deletion_of_a_job_that_was_not_seen_changes_nothing() -> None:
    assert tallied(deleted("a", 0), moved("b", 1, "CREATED")) == {"CREATED": [at(1)]}


def test_times_can_be_copied_and_pickled() -> None:
    times = tallied(moved("a", 0, "RUNNING"), moved("a", 1, "USER_KILLED"))
    for other in (copy.copy(times), copy.deepcopy(times), pickle.loads(pickle.dumps(times))):
        assert (other, other.run_ends) == (times, [at(1)])
        assert other["READY"] == []


# Throughput


def test_the_throughput_rises_with_each_run_that_is_done() -> None:
    times = tallied(moved("a", 5, "RUN_DONE"), moved("b", 3, "RUN_DONE"), moved("c", 5, "RUN_DONE"))
    assert plain(throughput_report(times)) == ([3, 5], [1, 3])


# Utilization


def test_the_running_jobs_rise_and_fall() -> None:
    times = tallied(
        moved("a", 0, "RUNNING"), moved("b", 1, "RUNNING"), moved("a", 2, "RUN_DONE"), moved("b", 3, "RUN_ERROR")
    )
    assert plain(utilization_report(times)) == ([0, 1, 2, 3], [1, 2, 1, 0])


def test_a_job_that_was_restarted_runs_twice() -> None:
    times = tallied(
        moved("a", 0, "RUNNING"), moved("a", 1, "RUN_TIMEOUT", "RESTART_READY"), moved("a", 3, "RUNNING"),
        moved("a", 4, "RUN_DONE", "POSTPROCESSED", "JOB_FINISHED"),
    )  # fmt: skip
    assert plain(utilization_report(times)) == ([0, 1, 3, 4], [1, 0, 1, 0])


@pytest.mark.parametrize("state", [state.name for state in State if state.name != "RUNNING"])
def test_a_run_ends_with_whatever_its_job_is_moved_to(state: str) -> None:
    times = tallied(moved("a", 0, "RUNNING"), moved("a", 1, state), moved("a", 2, "FAILED"))
    assert plain(utilization_report(times)) == ([0, 1], [1, 0])


@pytest.mark.parametrize("state", ["RUN_DONE", "RUN_ERROR", "USER_KILLED", "FAILED"])
def test_a_job_that_did_not_run_ends_no_run(state: str) -> None:
    times = tallied(moved("a", 0, "CREATED"), moved("a", 1, state), moved("b", 2, "RUNNING"), moved("c", 3, "RUNNING"))
    assert plain(utilization_report(times)) == ([2, 3], [1, 2])


def test_a_run_does_not_end_before_it_begins() -> None:
    times = tallied(moved("a", 5, "RUNNING"), moved("a", 4, "USER_KILLED"), moved("b", 6, "RUNNING"))
    assert plain(utilization_report(times)) == ([5, 6], [0, 1])


def test_a_plain_dict_of_times_will_do() -> None:
    times = {"RUNNING": [at(1), at(0)], "RUN_DONE": [at(2)], "RUN_TIMEOUT": [at(2)], "USER_KILLED": [at(1)]}
    assert plain(utilization_report(times)) == ([0, 1, 2], [1, 2, 0])
    assert plain(throughput_report(times)) == ([2], [1])
    assert plain(utilization_report({"RUN_DONE": [at(0)], "RUNNING": [at(1), at(2)]})) == ([0, 1, 2], [0, 0, 1])


@given(FEW_MOVES)
def test_the_running_jobs_are_those_whose_last_state_was_running(
    moves: list[tuple[str, int, list[str], bool]],
) -> None:
    """In whatever order the clocks put it."""
    story = [Move(job_id, at(time), () if gone else tuple(states), gone) for job_id, time, states, gone in moves]
    times, counts = utilization_report(tallied(*story))
    assert all(count >= 0 for count in counts)
    assert all(before < after for before, after in pairwise(times))
    last: dict[str, str] = {}
    for each in story:
        if each.deleted:
            last.pop(each.job_id, None)
        elif each.states:
            last[each.job_id] = each.states[-1]
    assert (counts[-1] if len(counts) else 0) == list(last.values()).count("RUNNING")


# Errors


@pytest.mark.parametrize(
    ("errors", "edges", "counts"),
    [
        ([0], [0, 60], [1]),
        ([30, 0], [0, 60], [2]),
        ([0, 60], [0, 60], [2]),
        ([0, 60, 61, 200, 59.999999], [0, 60, 120, 180, 240], [2, 2, 0, 1]),
        ([0, 60, 120], [0, 60, 120], [1, 2]),
    ],
)
def test_the_errors_of_each_minute(errors: list[float], edges: list[float], counts: list[int]) -> None:
    times = tallied(*[moved(str(number), 7 + second, "RUN_ERROR") for number, second in enumerate(errors)])
    assert plain(error_report(times)) == ([7 + edge for edge in edges], counts)


@given(st.lists(st.integers(0, 1000), min_size=2).filter(lambda seconds: len(set(seconds)) > 1))
def test_the_errors_of_each_minute_are_a_histogram(errors: list[int]) -> None:
    """That of numpy, as in 0.x."""
    times, counts = error_report({"RUN_ERROR": [at(second) for second in errors]})
    edges = numpy.arange(min(errors), max(errors) + 60, 60)
    assert seconds(times) == list(edges)
    assert list(counts) == list(numpy.histogram(errors, bins=edges)[0])


# Shapes


@pytest.mark.parametrize("times", [JobTimes(), {}])
@pytest.mark.parametrize("report", [throughput_report, utilization_report, error_report])
def test_without_jobs_a_report_is_empty(report: Any, times: dict[str, list[datetime]]) -> None:
    moments, counts = report(times)
    assert moments == []
    assert counts.shape == (0,)
    assert numpy.issubdtype(counts.dtype, numpy.integer)


@pytest.mark.parametrize("report", [throughput_report, utilization_report, error_report])
def test_counts_are_arrays_where_numpy_is_installed_and_else_lists(
    report: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = tallied(moved("a", 0, "RUNNING"), moved("a", 1, "RUN_DONE"), moved("b", 2, "RUN_ERROR"))
    with_numpy = report(time_data=times)
    monkeypatch.setitem(sys.modules, "numpy", None)
    without = report(time_data=times)
    assert isinstance(with_numpy[1], numpy.ndarray)
    assert type(without[1]) is list
    assert plain(with_numpy) == plain(without)
    assert report({}) == ([], [])


# Refusals


def test_what_is_no_query_of_jobs_is_refused() -> None:
    with pytest.raises(ValidationError, match="qs is a list: must be a query of jobs, such as BalsamJob"):
        process_job_times([])  # type: ignore[arg-type]


@pytest.mark.parametrize("report", [throughput_report, utilization_report, error_report])
def test_a_report_is_of_times_and_not_of_a_query(report: Any) -> None:
    from balsam.job import BalsamJob

    message = r"time_data is a QuerySet: must be what process_job_times\(query\) returns"
    with pytest.raises(ValidationError, match=message):
        report(BalsamJob.objects.filter(workflow="w"))
