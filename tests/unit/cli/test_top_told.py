"""What `balsam top` keeps of the events."""

from __future__ import annotations

import datetime

from balsam.states import State
from balsam.v1 import event_pb2, job_pb2
from balsam_cli.top.told import MOST_FAILED, Told


def event(job_id: str, *states: State, second: int = 0, deleted: bool = False) -> event_pb2.Event:
    made = event_pb2.Event(job_id=job_id, states=map(job_pb2.Job.State.ValueType, states), deleted=deleted)
    made.time.seconds = second
    return made


def at(second: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(second, datetime.UTC)


def test_a_job_runs_from_its_last_start_until_it_does_something_else() -> None:
    told = Told()
    told.see(
        [event("a", State.PREPROCESSED, State.RUNNING, second=5), event("b", State.RUNNING), event("c", State.RUNNING)]
    )
    told.see([event("b", State.RUN_DONE), event("c", deleted=True), event("d", State.RUNNING, State.RUN_DONE)])
    assert told.running() == {"a": at(5)}
    told.see([event("a")])  # a note
    assert told.running() == {"a": at(5)}
    told.see([event("a", State.RUN_TIMEOUT), event("a", State.RUNNING, second=9)])
    assert told.running() == {"a": at(9)}


def test_what_ran_before_is_taken_unless_events_know_better() -> None:
    told = Told()
    told.see([event("a", State.RUNNING, second=5)])
    told.add_running({"a": at(1), "b": at(2), "c": None})
    assert told.running() == {"a": at(5), "b": at(2), "c": None}
    told.drop({"a": at(1), "b": at(2), "nobody": None})
    assert list(told.running()) == ["a", "c"]  # a has started again since then


def test_the_last_failures_are_kept_each_once() -> None:
    told = Told()
    told.see([event("new", State.RUN_ERROR, State.FAILED)])
    told.add_failed(["older", "oldest"])
    assert told.failed() == ["oldest", "older", "new"]
    told.see([event("older", State.FAILED)])
    assert told.failed() == ["oldest", "older", "new"]
    told.see([event(str(number), State.FAILED) for number in range(MOST_FAILED)])
    assert told.failed() == [str(number) for number in range(MOST_FAILED)]
