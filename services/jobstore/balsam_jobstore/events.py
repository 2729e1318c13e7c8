"""The event stream: every commit's events in a ring that subscribers read at their own pace.

Nobody polls: a subscriber sleeps until something is committed. One that falls behind the ring reads from the database
until it has caught up, so a slow one costs no memory and loses nothing.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from balsam.states import Actor, State
from balsam_jobstore import schema
from balsam_jobstore.amounts import Room, bytes_of, bytes_of_row
from balsam_jobstore.database import among
from balsam_jobstore.history import EventRecord, pack_states, unpack_states
from balsam_jobstore.rows import OWNER_KEY
from balsam_jobstore.setting_aside import DamagedRow

RING = 20_000
"""Events kept in memory."""
_EVENT_BYTES = 250
"""About so much of an event in a message is neither its text nor its workflow."""


@dataclass(frozen=True)
class EventFilter:
    """Which events; every condition that is set must hold."""

    job_ids: frozenset[str] = frozenset()
    workflow: str | None = None
    states: frozenset[int] = frozenset()
    owner_key: int | None = None
    """Of jobs of this user, and of jobs that are gone."""

    def matches(self, event: EventRecord) -> bool:
        """Whether an event is wanted."""
        if self.job_ids and event.job_id not in self.job_ids:
            return False
        if self.workflow is not None and event.workflow != self.workflow:
            return False
        if self.owner_key is not None and event.owner_key != self.owner_key and not event.deleted:
            return False
        return event.deleted or not self.states or not self.states.isdisjoint(event.states)


class EventHub:
    """The ring, and those who wait for it. Lives in the loop."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        self.watchers = 0
        """Subscribers that there are."""
        self._ring: deque[EventRecord] = deque(maxlen=RING)
        self._news = asyncio.Event()

    def publish(self, events: Sequence[EventRecord]) -> None:
        """Adds what was committed."""
        if not events:
            return
        self.catch_up(events[0].sequence - 1)
        self._ring.extend(events)
        self._advance(events[-1].sequence)

    def catch_up(self, sequence: int) -> None:
        """There are events up to `sequence` in the database, of which some may not have been published."""
        if sequence > self.sequence:
            self._ring.clear()  # it has no holes
            self._advance(sequence)

    def _advance(self, sequence: int) -> None:
        self.sequence = sequence
        self._news.set()
        self._news = asyncio.Event()

    async def wait_beyond(self, sequence: int) -> None:
        """Returns when there are events after `sequence`."""
        while self.sequence <= sequence:
            await self._news.wait()

    def after(self, sequence: int, limit: int = RING) -> list[EventRecord] | None:
        """The first events after `sequence`; None: the ring does not reach back so far."""
        if sequence >= self.sequence:
            return []
        if not self._ring or self._ring[0].sequence > sequence + 1:
            return None
        # Sequences in the ring have no holes, so the place is known. Most want the last of them, and a deque is walked.
        start, behind = sequence + 1 - self._ring[0].sequence, self.sequence - sequence
        if behind <= limit:
            return list(itertools.islice(reversed(self._ring), behind))[::-1]
        return list(itertools.islice(self._ring, start, start + limit))


def size_of(event: EventRecord) -> int:
    """About how much an event takes in a message [bytes]."""
    return _EVENT_BYTES + bytes_of(event.message) + bytes_of(event.workflow)


def that_fit(events: Sequence[EventRecord]) -> Sequence[EventRecord]:
    """The first of these events, as many as one answer can hold."""
    room = Room()
    for index, event in enumerate(events):
        if not room.takes(size_of(event)):
            return events[:index]
    return events


def read_events(connection: sa.Connection, wanted: EventFilter, after: int, limit: int) -> list[EventRecord]:
    """Recorded events after a sequence, oldest first, at most `limit`.

    Raises:
        DamagedRow: some of them are damaged.
    """
    return _sound_events(connection.execute(_query(connection, wanted, after, limit)))


def read_page(connection: sa.Connection, wanted: EventFilter, after: int, limit: int) -> tuple[list[EventRecord], bool]:
    """The same, at most as many as one answer can hold; and whether there are more.

    Raises:
        DamagedRow: some of them are damaged.
    """
    query = _query(connection, wanted, after, limit + 1)
    room, more = Room(), False
    rows: list[sa.Row[Any]] = []
    with connection.execute(query, execution_options=_BY_CURSOR) as found:
        for row in found:
            more = len(rows) == limit or not room.takes(_EVENT_BYTES + bytes_of_row((row.message, row[2])))
            if more:
                break
            rows.append(row)
    return _sound_events(rows), more


_BY_CURSOR = {"stream_results": True, "max_row_buffer": 500}


def _query(connection: sa.Connection, wanted: EventFilter, after: int, limit: int) -> sa.Select[Any]:
    event, job, node = schema.event, schema.job, schema.node
    run = job.alias("run")
    query = (
        sa.select(
            event.c.job,
            sa.func.coalesce(event.c.deleted_id, job.c.job_id),
            sa.func.coalesce(job.c.workflow, ""),
            event.c.states,
            event.c.time_us,
            event.c.actor,
            event.c.attempt,
            event.c.message,
            event.c.exit_code,
            event.c.deleted_id,
            event.c.sequence,
            event.c.record_us,
            event.c.user_key,
            event.c.run_key,
            run.c.job_id,
            job.c.owner_key,
            node.c.name,
        )
        .select_from(
            event.outerjoin(job, job.c.key == event.c.job)
            .outerjoin(run, run.c.key == event.c.run_key)
            .outerjoin(node, node.c.key == event.c.node)
        )
        .where(event.c.sequence > after)
        .order_by(event.c.sequence)
        .limit(limit)
    )
    if wanted.job_ids:
        query = query.where(event.c.sequence.in_(_of_jobs(connection, sorted(wanted.job_ids), after)))
    if wanted.workflow is not None:
        # Of a job that is gone nobody knows the workflow any more.
        query = query.where(sa.or_(job.c.workflow == wanted.workflow, event.c.deleted_id.is_not(None)))
    if wanted.states:
        letters = [event.c.states.contains(pack_states((state,)), autoescape=True) for state in wanted.states]
        query = query.where(sa.or_(event.c.deleted_id.is_not(None), *letters))
    if wanted.owner_key is not None:
        query = query.where(sa.or_(job.c.owner_key == wanted.owner_key, event.c.deleted_id.is_not(None)))
    return query


def _of_jobs(connection: sa.Connection, ids: Sequence[str], after: int) -> sa.CompoundSelect[Any]:
    """Sequences of the events of jobs, of those that are there and of those that are gone: each kind has an index, and
    for one condition with OR PostgreSQL would use neither."""
    event, sqlite = schema.event.alias("told"), connection.dialect.name == "sqlite"
    keys = sa.select(schema.job.c.key).where(among(schema.job.c.job_id, ids, sqlite=sqlite)).correlate(None)
    sequences = sa.select(event.c.sequence).where(event.c.sequence > after)
    gone = sequences.where(among(event.c.deleted_id, ids, sqlite=sqlite))
    return sa.union_all(sequences.where(event.c.job.in_(keys)), gone)


def _sound_events(found: Iterable[sa.Row[Any]]) -> list[EventRecord]:
    rows = list(found)
    damaged = [row.sequence for row in rows if not _is_sound(row[:_CHECKED])]
    if damaged:
        raise DamagedRow("event", damaged)
    return [_record(row) for row in rows]


_CHECKED = 12


def _record(row: Any) -> EventRecord:
    key, job_id, workflow, letters, *told, deleted_id, sequence, record_us = row[:_CHECKED]
    event = EventRecord(key, str(job_id), workflow, unpack_states(letters), *told)
    event.deleted, event.sequence, event.record_us = deleted_id is not None, sequence, record_us
    event.user_key, event.run_key, run_id, owner_key, node = row[_CHECKED:]
    event.run_id, event.owner_key, event.node = str(run_id or ""), owner_key or OWNER_KEY, node or ""
    return event


def _is_sound(row: Sequence[Any]) -> bool:
    """Whether a row may be what was written; `damage.problem` says what is wrong with one that cannot."""
    _, _, _, states, time_us, actor, attempt, message, exit_code, _, _, record_us = row
    return (
        type(states) is type(message) is str
        and type(time_us) is type(record_us) is type(attempt) is int
        and (exit_code is None or type(exit_code) is int)
        and actor in _ACTORS
        and not states.strip(_LETTERS)
    )


_ACTORS = frozenset(Actor)
_LETTERS = pack_states(tuple(sorted(State)))
