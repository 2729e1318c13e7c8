"""Where failed jobs are done again from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from balsam.restarts import restart_state, restart_states
from balsam.states import State


@pytest.mark.parametrize(
    ("before", "target"),
    [
        *(("CREATED", "CREATED"), ("AWAITING_PARENTS", "CREATED"), ("READY", "CREATED"), ("STAGED_IN", "CREATED")),
        *(("RUN_ERROR", "RESTART_READY"), ("RUNNING", "RESTART_READY"), ("RUN_DONE", "RUN_DONE")),
        ("POSTPROCESSED", "POSTPROCESSED"),
    ],
)
def test_a_failed_job_is_done_again_from_where_it_failed(before: str, target: str) -> None:
    assert restart_state(State[before]) is State[target]


def test_those_that_have_failed_are_told_by_their_histories() -> None:
    moves = {
        "a": [("CREATED", "READY"), ("FAILED",)],
        "b": [("CREATED",), ("RUNNING", "RUN_DONE"), ("FAILED",)],
        "c": [("CREATED",), ("RUNNING", "FAILED"), ("RESTART_READY",)],
        "d": [],
        "not asked for": [("FAILED",)],
    }

    def told(job_ids: Sequence[str]) -> Iterator[Any]:
        return (SimpleNamespace(job_id=one, states=states) for one, some in moves.items() for states in some)

    client: Any = SimpleNamespace(events=SimpleNamespace(moves=told))
    assert restart_states(client, ["a", "b", "c", "d"]) == {"a": State.CREATED, "b": State.RUN_DONE}
