"""The history: recorded events by filter, and subscribers that miss nothing and see nothing twice."""

from __future__ import annotations

import asyncio
import functools
import itertools
import uuid
from collections import deque
from typing import Any

import pytest

from balsam.errors import ValidationError
from balsam.serving import CALLER, Caller
from balsam.states import Actor, State
from balsam.v1 import event_service_pb2
from balsam_jobstore import creation, jobs
from balsam_jobstore.events import EventFilter, read_events
from balsam_jobstore.history import EventRecord
from balsam_jobstore.server.events import EventService
from balsam_jobstore.tx import Tx
from tests.support.store import Bench, job, one

S = State
pb = event_service_pb2


def read(bench: Bench, wanted: EventFilter | None = None, after: int = 0, limit: int = 10_000) -> list[EventRecord]:
    with bench.database.reader() as connection:
        return read_events(connection, wanted or EventFilter(), after, limit)


class Subscriber:
    """One call of WatchEvents, and what it has received."""

    def __init__(self, bench: Bench, after: int | None = None, **wanted: Any) -> None:
        self.wanted = pb.EventFilter(**wanted)
        self.after = after
        self.sequences: list[int] = []
        self.resume = -1
        request = pb.WatchEventsRequest(filter=self.wanted)
        if after is not None:
            request.after_sequence = after
        self._bench = bench
        self._stream = EventService(bench.store).WatchEvents(request, None)
        self._task = bench.start(self._receive())

    async def _receive(self) -> None:
        async for response in self._stream:
            self.sequences += [event.sequence for event in response.events]
            self.resume = response.sequence

    def caught_up(self) -> list[int]:
        """What was received, once nothing more is to come."""
        frame = self._stream.ag_frame
        for _ in range(2000):
            self._bench.run(asyncio.sleep(0.002))
            if self._task.done() or frame is None or frame.f_locals.get("position") == self._bench.store.hub.sequence:
                break
        self._bench.run(asyncio.sleep(0.01))
        return self.sequences

    def close(self) -> None:
        self._task.cancel()
        self._bench.run(asyncio.gather(self._task, return_exceptions=True))


# Recorded events


def test_events_say_who_did_what_and_when(bench: Bench) -> None:
    job_id = bench.add("a")
    bench.set_state(job_id, S.FAILED, message="no use")
    created, moved, failed = bench.events_of(job_id)
    assert (created.states, moved.states, failed.states) == (
        (S.CREATED,),
        (S.READY, S.STAGED_IN, S.PREPROCESSED),
        (S.FAILED,),
    )
    assert (failed.job_id, failed.message, failed.attempt, failed.exit_code) == (job_id, "no use", 0, None)
    assert created.time_us <= created.record_us <= failed.record_us


def test_events_are_read_page_by_page(bench: Bench) -> None:
    bench.create(*[job(f"j{i}") for i in range(5)])
    found: list[int] = []
    while page := read(bench, after=found[-1] if found else 0, limit=3):
        found += [event.sequence for event in page]
    assert found == list(range(1, 11))


def test_events_are_filtered_by_job_workflow_and_state(bench: Bench) -> None:
    a, b = bench.add("a", workflow="wf1"), bench.add("b", workflow="wf10")
    bench.set_state(b, S.FAILED)
    assert {event.job_id for event in read(bench, EventFilter(frozenset({a})))} == {a}
    assert {event.job_id for event in read(bench, EventFilter(workflow="wf1"))} == {a}
    assert [event.job_id for event in read(bench, EventFilter(states=frozenset({S.FAILED})))] == [b]
    assert len(read(bench, EventFilter(states=frozenset({S.STAGED_IN, S.FAILED})))) == 3
    assert read(bench, EventFilter(frozenset({a}), states=frozenset({S.FAILED}))) == []
    assert read(bench, EventFilter(workflow="")) == []


def test_events_of_as_many_jobs_as_are_allowed_are_read(bench: Bench) -> None:
    wanted = bench.add("a")
    ids = frozenset([wanted, *(str(uuid.uuid4()) for _ in range(99_999))])
    assert len(read(bench, EventFilter(ids))) == 2


def test_the_event_of_a_deleted_job_always_comes(bench: Bench) -> None:
    job_id = bench.add("a", workflow="wf")
    bench.add("b", workflow="wf")
    bench.delete(job_id)
    for wanted in (
        EventFilter(),
        EventFilter(frozenset({job_id})),
        EventFilter(workflow="wf"),
        EventFilter(states=frozenset({S.FAILED})),
    ):
        (gone,) = [event for event in read(bench, wanted) if event.deleted]
        assert (gone.job_id, gone.states) == (job_id, ())
    assert [event.job_id for event in read(bench, EventFilter(frozenset({job_id})))] == [job_id]


# Subscribers


@pytest.fixture
def small_ring(bench: Bench) -> Bench:
    """A store that keeps few events in memory, and reads few at once."""
    bench.store.hub._ring = deque(maxlen=6)
    CALLER.set(Caller("me", "owner"))
    return bench


def matches(event: EventRecord, wanted: pb.EventFilter) -> bool:
    """What a filter means."""
    if wanted.job_ids and event.job_id not in wanted.job_ids:
        return False
    if wanted.HasField("workflow") and event.workflow != wanted.workflow:
        return False
    return event.deleted or not wanted.states or bool(set(wanted.states) & set(event.states))


def test_a_subscriber_is_told_at_once_where_it_starts(small_ring: Bench) -> None:
    small_ring.add("a")
    for after, start in ((None, 2), (0, 2), (1, 2), (50, 2)):
        subscriber = Subscriber(small_ring, after)
        subscriber.caught_up()
        assert subscriber.resume == start
        subscriber.close()


def test_subscribers_see_everything_once_wherever_they_start(
    small_ring: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From before the ring, from inside it, from its end; while commits of all sizes go on, and after deletions."""
    monkeypatch.setattr("balsam_jobstore.server.events._BATCH", 4)
    bench = small_ring
    subscribers = []

    def subscribe() -> None:
        last = bench.store.hub.sequence
        for after, wanted in itertools.product(
            {0, max(last - 3, 0), last}, ({}, {"workflow": "wf1"}, {"states": [S.FAILED, S.STAGED_IN]})
        ):
            subscribers.append(Subscriber(bench, after, **wanted))

    ids: list[str] = []
    for size in (1, 2, 5, 9):
        subscribe()
        made = [job(f"j{i}", workflow=f"wf{i % 2}") for i in range(size)]
        ids += [new.job_id for new in made]
        bench.create(*made)
        bench.run(asyncio.sleep(0))
        bench.set_state(ids[-1], S.FAILED)
    subscribe()
    gone = ids[0]
    bench.set_state(ids[3], S.FAILED)
    bench.delete(gone)
    subscribe()
    for subscriber in subscribers:
        received = subscriber.caught_up()
        subscriber.close()
        assert received == sorted(set(received))
        expected = [
            event for event in bench.events if matches(event, subscriber.wanted) and event.sequence > subscriber.after
        ]
        # What it had not read of a deleted job is gone. That it was deleted is told, to some of other workflows too:
        # the database does not know any more which one it was.
        kept = {event.sequence for event in expected if event.job_id != gone or event.deleted}
        most = {event.sequence for event in bench.events if event in expected or event.deleted}
        assert kept <= set(received) <= most, subscriber.wanted


def test_a_subscriber_resumes_without_gap_or_repeat(small_ring: Bench) -> None:
    bench = small_ring
    received: list[int] = []
    resume = 0
    for i in range(6):
        bench.create(*[job(f"j{i}") for _ in range(i)])
        subscriber = Subscriber(bench, resume)
        received += subscriber.caught_up()
        resume = subscriber.resume
        subscriber.close()
    assert received == [event.sequence for event in bench.events]


def test_a_commit_that_nobody_was_told_of_is_seen_after_the_next(small_ring: Bench) -> None:
    """As when the connection breaks while the database commits."""
    bench = small_ring
    bench.add("a")
    subscriber = Subscriber(bench, bench.store.hub.sequence)
    subscriber.caught_up()
    new = job("unheard of")
    create = functools.partial(creation.create, jobs=[new], owner="me", actor=Actor.USER, atomic=False)
    _, outcome = bench.writer.transact([create])
    assert subscriber.caught_up() == []
    bench.add("b")
    assert subscriber.caught_up() == [3, 4, 5, 6]
    subscriber.close()
    bench.events[2:2] = outcome.events


def test_a_negative_start_is_refused(small_ring: Bench) -> None:
    subscriber = Subscriber(small_ring, -1)
    subscriber.caught_up()
    with pytest.raises(ValidationError, match="after_sequence = -1"):
        small_ring.run(subscriber._task)


def test_a_message_holds_as_many_events_as_fit(bench: Bench) -> None:
    """What people say of a kill may be long: of many it would be more than a message may have, for every subscriber."""
    names = [bench.add() for _ in range(700)]
    before = bench.store.hub.sequence

    def kill(tx: Tx) -> None:
        rows = [one(tx, job_id) for job_id in names]
        jobs.kill(tx, rows, recursive=False, actor=Actor.USER, message="é" * 8000)

    bench.do(kill)

    async def watch(after: int) -> list[int]:
        sizes, told = [], 0
        async for response in EventService(bench.store).WatchEvents(pb.WatchEventsRequest(after_sequence=after), None):
            sizes.append(response.ByteSize())
            told += len(response.events)
            if response.sequence == bench.store.hub.sequence:
                break
        assert told == bench.store.hub.sequence - after
        return sizes

    async def page() -> int:
        answer = await EventService(bench.store).ListEvents(
            pb.ListEventsRequest(after_sequence=before, page_size=10_000), None
        )
        assert answer.more
        return answer.ByteSize()

    for after in (0, before):
        assert max(bench.run(watch(after))) < 9_000_000
    assert bench.run(page()) < 9_000_000
