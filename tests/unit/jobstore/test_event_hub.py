"""The ring of events."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from balsam.states import State
from balsam_jobstore.events import EventFilter, EventHub
from balsam_jobstore.history import EventRecord, pack_states, unpack_states

S = State


def event(
    sequence: int, *, job_id: str = "a", workflow: str = "", states: tuple[int, ...] = (1,), deleted: bool = False
) -> EventRecord:
    return EventRecord(1, job_id, workflow, states, 0, 1, 0, deleted=deleted, sequence=sequence)


def sequences(hub: EventHub, after: int) -> list[int] | None:
    found = hub.after(after)
    return None if found is None else [e.sequence for e in found]


@pytest.fixture
def hub() -> EventHub:
    hub = EventHub(10)
    hub._ring = deque(maxlen=5)
    return hub


def test_an_empty_ring_knows_only_its_own_end(hub: EventHub) -> None:
    assert sequences(hub, 10) == []
    assert sequences(hub, 11) == []
    assert hub.after(9) is None


def test_the_ring_gives_what_came_after(hub: EventHub) -> None:
    hub.publish([event(11), event(12)])
    hub.publish([])
    hub.publish([event(13)])
    assert [sequences(hub, after) for after in (10, 11, 12, 13)] == [[11, 12, 13], [12, 13], [13], []]
    assert hub.after(9) is None


def test_what_has_left_the_ring_is_to_be_read_from_the_database(hub: EventHub) -> None:
    hub.publish([event(sequence) for sequence in range(11, 20)])
    assert hub.after(13) is None
    assert sequences(hub, 14) == [15, 16, 17, 18, 19]


def test_the_ring_has_no_holes(hub: EventHub) -> None:
    hub.publish([event(11)])
    hub.publish([event(14), event(15)])  # of 12 and 13 nobody was told
    assert hub.after(11) is None
    assert sequences(hub, 13) == [14, 15]
    hub.catch_up(17)
    assert hub.sequence == 17
    assert hub.after(15) is None
    assert sequences(hub, 17) == []
    hub.catch_up(3)
    assert hub.sequence == 17


def test_who_waits_is_woken_by_what_is_new() -> None:
    async def main() -> None:
        hub = EventHub(0)
        waiting = [asyncio.create_task(hub.wait_beyond(after)) for after in (0, 1, 5)]
        await asyncio.sleep(0)
        hub.publish([event(1), event(2)])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [task.done() for task in waiting] == [True, True, False]
        hub.catch_up(6)
        await asyncio.wait_for(waiting[2], 5)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (EventFilter(), True),
        (EventFilter(frozenset({"a", "b"})), True),
        (EventFilter(frozenset({"b"})), False),
        (EventFilter(workflow="wf1"), True),
        (EventFilter(workflow="wf"), False),
        (EventFilter(workflow=""), False),
        (EventFilter(states=frozenset({S.READY, S.FAILED})), True),
        (EventFilter(states=frozenset({S.FAILED})), False),
        (EventFilter(frozenset({"a"}), "wf1", frozenset({S.STAGED_IN})), True),
    ],
)
def test_a_filter_wants_what_meets_all_its_conditions(wanted: EventFilter, matches: bool) -> None:
    assert wanted.matches(event(1, workflow="wf1", states=(S.READY, S.STAGED_IN))) is matches


def test_a_deletion_is_wanted_whatever_the_states() -> None:
    gone = event(1, states=(), deleted=True)
    assert EventFilter(states=frozenset({S.FAILED})).matches(gone)
    assert not EventFilter(frozenset({"b"})).matches(gone)


def test_states_are_packed_as_letters() -> None:
    assert pack_states((S.CREATED, S.READY, S.USER_KILLED)) == "ACN"
    assert unpack_states("ACN") == (S.CREATED, S.READY, S.USER_KILLED)
    assert len({pack_states((state,)) for state in S}) == len(S)
