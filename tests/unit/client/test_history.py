"""The history of a job as text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from balsam.event_calls import passages
from balsam.history import Passage, run_seconds, state_times, text
from balsam.v1 import event_pb2

NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)


def at(seconds: float, state: str, message: str = "") -> Passage:
    return Passage(state, NOON + timedelta(seconds=seconds), message)


def test_a_line_for_each_state_in_utc() -> None:
    in_berlin = NOON.astimezone(timezone(timedelta(hours=1)))
    history = text([Passage("CREATED", in_berlin), at(1.5, "FAILED", "exit code 3")])
    assert history == "[01-02-2030 12:00:00.000000 CREATED]\n[01-02-2030 12:00:01.500000 FAILED] exit code 3"


def test_a_message_cannot_pose_as_a_line_of_the_history() -> None:
    history = text([at(0, "RUN_ERROR", "tail:\n[01-02-2030 12:00:00.000000 JOB_FINISHED] ha")])
    assert re.findall(r"^\[[-0-9]+ [.:0-9]+ (\w+)\]", history, re.MULTILINE) == ["RUN_ERROR"]


def test_an_event_with_several_states_is_several_lines() -> None:
    event = event_pb2.Event(states=[1, 3, 4], message="by rule")
    event.time.FromMicroseconds(1_500_000)
    assert [(p.state, p.message) for p in passages(event)] == [("CREATED", ""), ("READY", ""), ("STAGED_IN", "by rule")]
    assert passages(event)[0].time == datetime(1970, 1, 1, 0, 0, 1, 500000, UTC)


def test_a_note_without_a_state_is_no_line() -> None:
    assert passages(event_pb2.Event(message="a note")) == []


def test_the_last_time_of_each_state() -> None:
    times = state_times([at(0, "RUNNING"), at(1, "RUN_TIMEOUT"), at(5, "RUNNING")])
    assert times == {"RUNNING": NOON + timedelta(seconds=5), "RUN_TIMEOUT": NOON + timedelta(seconds=1)}


def test_the_length_of_the_last_run_that_ended() -> None:
    first = [at(0, "RUNNING"), at(3, "RUN_TIMEOUT")]
    assert run_seconds([]) is None
    assert run_seconds(first[:1]) is None
    assert run_seconds(first) == 3
    assert run_seconds([*first, at(5, "RUNNING")]) == 3
    assert run_seconds([*first, at(5, "RUNNING"), at(6, "RUN_DONE"), at(9, "JOB_FINISHED")]) == 1
