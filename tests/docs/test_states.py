"""The picture and the table of the states are those of the code."""

from __future__ import annotations

import pytest

from balsam.states import END, TRANSITIONS, Actor, State
from scripts.docs import states


def test_the_picture_that_is_checked_in_is_current() -> None:
    assert states.PICTURE.read_text() == states.picture(), "it is stale: python -m scripts.docs.states"


def test_every_state_and_every_move_is_drawn() -> None:
    drawn = states.picture()
    assert all(f">{state.name}</text>" in drawn for state in State)
    for actor in (Actor.SCHEDULER, Actor.LAUNCHER, Actor.JOBSTORE):
        for source, targets in TRANSITIONS[actor].items():
            for target in targets - {source, State.FAILED}:
                assert f"<title>{source.name} to {target.name}</title>" in drawn


def test_a_table_that_the_picture_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {state: frozenset[State]() for state in State}
    monkeypatch.setitem(TRANSITIONS, Actor.SCHEDULER, without)
    with pytest.raises(ValueError, match=r"FAILED cannot be reached from \['CREATED'"):
        states.picture()


def test_the_table_says_what_each_state_means_and_where_it_goes() -> None:
    rows = states.table().splitlines()[2:]
    assert len(rows) == len(State)
    assert all(row.split(" | ")[1].endswith(".") for row in rows)
    assert all(row.split(" | ")[2] for row in rows if State[row.split("`")[1]] not in END)
    assert (
        "| `RUNNING` | Its processes run under a launcher. | `RUN_DONE`, `RUN_ERROR`, `RUN_TIMEOUT` | launcher |"
        in rows
    )
