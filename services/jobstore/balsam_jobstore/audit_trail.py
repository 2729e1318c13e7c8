"""The audit trail: what users have changed, from the history of jobs and from what `audit` keeps beside."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from balsam.states import Actor, State
from balsam_jobstore import schema
from balsam_jobstore.auditing import MOST_OBJECTS
from balsam_jobstore.history import unpack_states
from balsam_jobstore.rows import OWNER_KEY

MOST_EVENTS = 20_000
"""So many events are looked at: of a bulk call, many are one entry."""
_EVENTS_OF_ENTRY = 50
_PEOPLE = (int(Actor.USER), int(Actor.SCRIPT))


@dataclass
class Entry:
    """What somebody has changed."""

    time_us: int
    user_key: int
    run_id: str
    action: str
    objects: list[str] = field(default_factory=list)
    count: int = 0
    detail: str = ""


def last_entries(connection: sa.Connection, most: int) -> list[Entry]:
    """The last entries, newest first."""
    merged = sorted([*_of_events(connection, most), *_of_audit(connection, most)], key=attrgetter("time_us"))
    return merged[::-1][:most]


def _of_audit(connection: sa.Connection, most: int) -> Iterator[Entry]:
    table = schema.audit
    query = sa.select(
        table.c.time_us,
        table.c.user_key,
        sa.func.coalesce(sa.cast(table.c.run_id, sa.Text), ""),
        table.c.action,
        table.c.objects,
        table.c["count"],
        table.c.detail,
    )
    for row in connection.execute(query.order_by(table.c.key.desc()).limit(most)):
        time_us, user_key, run_id, action, objects, count, detail = row
        yield Entry(time_us, user_key, run_id, action, objects.split(), count, detail)


def _of_events(connection: sa.Connection, most: int) -> list[Entry]:
    event, job = schema.event, schema.job
    run = job.alias("run")
    query = (
        sa.select(
            event.c.time_us,
            sa.func.coalesce(event.c.user_key, OWNER_KEY).label("user_key"),
            event.c.actor,
            sa.cast(sa.func.coalesce(event.c.deleted_id, job.c.job_id), sa.Text).label("job_id"),
            sa.cast(run.c.job_id, sa.Text).label("run_id"),
            event.c.states,
            event.c.message,
            event.c.deleted_id,
        )
        .select_from(event.outerjoin(job, job.c.key == event.c.job).outerjoin(run, run.c.key == event.c.run_key))
        .where(event.c.actor.in_(_PEOPLE))
        .order_by(event.c.sequence.desc())
        .limit(min(MOST_EVENTS, most * _EVENTS_OF_ENTRY))
    )
    return list(itertools.islice(_grouped(connection.execute(query)), most))


def _grouped(rows: Iterable[Any]) -> Iterator[Entry]:
    """One entry for all that one call has done in one transaction."""
    entry: Entry | None = None
    for row in rows:
        found = _entry(row)
        if entry is not None and _head(entry) == _head(found):
            entry.count += 1
            entry.objects += found.objects[: MOST_OBJECTS - len(entry.objects)]
            continue
        if entry is not None:
            yield entry
        entry = found
    if entry is not None:
        yield entry


_head = attrgetter("time_us", "user_key", "run_id", "action", "detail")


def _entry(row: Any) -> Entry:
    states = unpack_states(row.states)
    action = State(states[-1]).name if states else "noted"
    run_id = row.run_id or (row.job_id if row.actor == Actor.SCRIPT else "")
    message = "" if row.deleted_id is not None else row.message
    return Entry(row.time_us, row.user_key, run_id, "DELETED" if row.deleted_id is not None else action,
                 [row.job_id], 1, message)  # fmt: skip
