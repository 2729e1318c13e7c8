"""Writes jobs to the content of a file: parents before their children, all of it as of one moment."""

from __future__ import annotations

import contextlib
import socket
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from balsam.states import END
from balsam.version import VERSION
from balsam_jobstore.database import Database, Sql, now_us
from balsam_jobstore.migrate import HEAD
from balsam_jobstore.moving import records
from balsam_jobstore.moving.format import ARCHIVE, EXPORT, FORMAT, Writer
from balsam_jobstore.workflows import workflow_condition

T = TypeVar("T")

AT_ONCE = 200
"""Jobs that are read together."""
PIECE_BYTES = 256 * 1024
_KEYS_AT_ONCE = 10_000
_ENDED = ", ".join(str(int(state)) for state in sorted(END))

ParentsBeyond = Callable[[Sequence[int], int], Mapping[int, list[int]]]
"""(children, key) -> child -> those of its parents whose keys are greater than the key."""


@dataclass(frozen=True)
class Selection:
    """Which jobs."""

    workflow: str = ""
    older_than_us: int | None = None
    """An archive of what has ended so long ago; None: an export."""
    header_only: bool = False


def exported(database: Database, site: Path, selection: Selection) -> Iterator[bytes]:
    """The content of a file, in pieces."""
    with database.reader() as connection, snapshot(connection, database) as sql:
        writer = Writer()
        keys, counts = _selected(connection, sql, selection)
        yield writer.line("header", _header(sql, site, selection, counts))
        if not selection.header_only:
            yield from _pieces(_lines(sql, writer, keys, everything=_is_everything(selection)))


@contextlib.contextmanager
def snapshot(connection: sa.Connection, database: Database) -> Iterator[Sql]:
    """A transaction that sees the database as it is now, to its end."""
    if not database.is_sqlite:
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
    with connection.begin():
        yield Sql(connection, database.is_sqlite)


def in_snapshot(connection: sa.Connection, database: Database, query: Callable[[Sql], T]) -> T:
    """What a query gives of the database as it is now, however many statements it takes."""
    with snapshot(connection, database) as sql:
        return query(sql)


def _is_everything(selection: Selection) -> bool:
    return not selection.workflow and selection.older_than_us is None


def _header(sql: Sql, site: Path, selection: Selection, counts: Mapping[str, int]) -> dict[str, Any]:
    ((sequence,),) = sql.run("SELECT event_sequence FROM counter WHERE id = 1")
    return {
        "format": FORMAT,
        "kind": EXPORT if selection.older_than_us is None else ARCHIVE,
        "balsam": VERSION,
        "schema": HEAD,
        "site": str(site),
        "host": socket.gethostname(),
        "time": records.time_text(now_us()),
        "sequence": sequence,
        "workflow": selection.workflow,
        "older_than_seconds": None if selection.older_than_us is None else selection.older_than_us / 1e6,
        **counts,
    }


def _lines(sql: Sql, writer: Writer, keys: Sequence[int], *, everything: bool) -> Iterator[bytes]:
    names, launches = (None, None) if everything else _used(sql, keys)
    for record in records.application_records(sql, names):
        yield writer.line("application", record)
    for record in records.launch_records(sql, launches):
        yield writer.line("launch", record)
    for chunk in _chunks(parents_first(keys, lambda children, key: _parents_beyond(sql, children, key)), AT_ONCE):
        for record in records.job_records(sql, chunk):
            yield writer.line("job", record)
    yield writer.end()


def _used(sql: Sql, keys: Sequence[int]) -> tuple[list[str], list[int]]:
    """The names of the applications and the keys of the launches that jobs have."""
    names: set[str] = set()
    launches: set[int] = set()
    for chunk in _chunks(iter(keys), _KEYS_AT_ONCE):
        text = """SELECT DISTINCT coalesce(application.name, ''), coalesce(job.launch, 0) FROM job
                  LEFT JOIN application ON application.key = job.application WHERE job.key = {keys}"""
        for name, launch in sql.run(text, keys=chunk):
            names.add(name)
            launches.add(launch)
    return sorted(names), sorted(launches)


def _pieces(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Lines, joined and cut to what one message may hold."""
    piece = bytearray()
    for line in lines:
        piece += line
        while len(piece) >= PIECE_BYTES:
            yield bytes(piece[:PIECE_BYTES])
            del piece[:PIECE_BYTES]
    if piece:
        yield bytes(piece)


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _selected(connection: sa.Connection, sql: Sql, selection: Selection) -> tuple[Sequence[int], dict[str, int]]:
    """The keys of the jobs, in order, eight bytes each; and what the header says of their number."""
    condition, parameters = workflow_condition(selection.workflow, sqlite=sql.is_sqlite)
    condition = condition or "1 = 1"
    if selection.older_than_us is None:
        text = f"SELECT key FROM job WHERE {condition}"
        if selection.workflow:
            text = f"""WITH RECURSIVE wanted(key) AS ({text} UNION
                       SELECT edge.parent FROM edge JOIN wanted ON wanted.key = edge.child) SELECT key FROM wanted"""
        keys = _keys(connection, text, parameters)
        return keys, {"selected": len(keys)}
    old = f"""old(key) AS (SELECT key FROM job WHERE state IN ({_ENDED}) AND session IS NULL AND {condition} AND
              (SELECT event.time_us FROM event WHERE event.job = job.key ORDER BY sequence DESC LIMIT 1) < :before)"""
    parameters = {**parameters, "before": now_us() - selection.older_than_us}
    text = f"""WITH RECURSIVE {old}, young(key) AS (SELECT key FROM job EXCEPT SELECT key FROM old),
               needed(key) AS (SELECT key FROM young UNION
                               SELECT edge.parent FROM edge JOIN needed ON needed.key = edge.child)
               SELECT key FROM old EXCEPT SELECT key FROM needed"""
    keys = _keys(connection, text, parameters)
    ((asked,),) = sql.run(f"WITH {old} SELECT count(*) FROM old", **parameters)
    return keys, {"asked": asked, "selected": len(keys)}


def _keys(connection: sa.Connection, text: str, parameters: Mapping[str, Any]) -> Sequence[int]:
    found = connection.execution_options(yield_per=_KEYS_AT_ONCE).execute(sa.text(f"{text} ORDER BY key"), parameters)
    return array("q", (key for (key,) in found))


def _parents_beyond(sql: Sql, children: Sequence[int], key: int) -> Mapping[int, list[int]]:
    parents: dict[int, list[int]] = defaultdict(list)
    text = "SELECT child, parent FROM edge WHERE child = {children} AND parent > :key ORDER BY parent"
    for child, parent in sql.run(text, children=list(children), key=key):
        parents[child].append(parent)
    return parents


def parents_first(keys: Sequence[int], parents_beyond: ParentsBeyond) -> Iterator[int]:
    """Sorted keys, in an order in which no job comes before a parent of it.

    Nearly every job is younger than its parents, so nearly all stay where they are; only what has to come early is
    held in memory.
    """
    early: set[int] = set()
    for start in range(0, len(keys), AT_ONCE):
        chunk = keys[start : start + AT_ONCE]
        late = parents_beyond(chunk, chunk[0])
        for key in chunk:
            if key in early:
                early.discard(key)
                continue
            if any(parent > key for parent in late.get(key, ())):
                for ancestor in _ancestors(key, keys, early, parents_beyond):
                    early.add(ancestor)
                    yield ancestor
            yield key


def _ancestors(key: int, keys: Sequence[int], early: set[int], parents_beyond: ParentsBeyond) -> Iterator[int]:
    """Those that must come before a job and have not come, each after its own parents."""

    def missing(child: int) -> Iterator[int]:
        return iter(parents_beyond([child], key).get(child, ()))

    path = [(key, missing(key))]
    while path:
        child, parents = path[-1]
        parent = next((p for p in parents if p not in early and _holds(keys, p)), None)
        if parent is not None:
            path.append((parent, missing(parent)))
            continue
        path.pop()
        if path:
            yield child


def _holds(keys: Sequence[int], key: int) -> bool:
    place = bisect_left(keys, key)
    return place < len(keys) and keys[place] == key
