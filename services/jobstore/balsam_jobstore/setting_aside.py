"""Damaged rows are set aside: written to a file of the site, and taken out of the tables, so that the rest is served.

A job goes as if it were deleted, and its waiting children fail with the reason. What only contradicts other rows is put
right: counts of parents, leases of sessions and places in launches that do not exist.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balsam.states import END, RUNNABLE, WAITING, Actor, State
from balsam_jobstore import damage, schema
from balsam_jobstore.history import EventRecord
from balsam_jobstore.rules import Needs
from balsam_jobstore.tx import Tx

log = logging.getLogger("balsam.jobstore.damage")

PAGE = 10_000
"""Jobs that are looked over in one transaction."""
_WAITING_LIST = ", ".join(str(int(s)) for s in sorted(WAITING))
_ENDED_LIST = ", ".join(str(int(s)) for s in sorted(END))
_SMALL = ("application", "session", "launch")


class DamagedRow(Exception):
    """A reader has met rows that make no sense."""

    def __init__(self, table: str, keys: Sequence[int]) -> None:
        super().__init__(f"damaged rows of {table}: {list(keys)[:10]}")
        self.table = table
        self.keys = list(keys)


@dataclass(frozen=True)
class Page:
    """What came of looking over some jobs."""

    set_aside: int
    next_key: int | None
    """Where to go on; None: at the end."""


def look_over_small(tx: Tx, directory: Path) -> int:
    """Sets aside damaged applications, sessions and launches; returns how many."""
    count = 0
    for table in _SMALL:
        for row in _rows(tx, table, "1 = 1"):
            why = damage.problem(table, row)
            if why:
                _write(directory, table, row["key"], why, {table: row})
                tx.sql.run(f"DELETE FROM {table} WHERE key = :key", key=row["key"])
                count += 1
    return count


def look_over_jobs(tx: Tx, directory: Path, after: int) -> Page:
    """Looks over the jobs behind a key, at most `PAGE`, and the edges of these."""
    found = tx.sql.run(
        "SELECT key FROM job WHERE key > :after ORDER BY key LIMIT 1 OFFSET :page", after=after, page=PAGE
    )
    upto = found[0][0] if found else 2**62
    within = {"after": after, "upto": upto}
    count = _examine_range(tx, directory, within)
    count += _edges_to_nothing(tx, directory, within)
    _put_right(tx, within)
    return Page(count, upto if found else None)


def _examine_range(tx: Tx, directory: Path, within: dict[str, int]) -> int:
    sqlite = tx.sql.is_sqlite
    inside = "{0}.key > :after AND {0}.key <= :upto"
    suspects = [
        f"""SELECT key FROM job WHERE {inside.format("job")}
            AND NOT COALESCE({damage.sound("job", sqlite=sqlite)}, FALSE)""",
        f"""SELECT job.key FROM job LEFT JOIN job_detail ON job_detail.key = job.key WHERE {inside.format("job")}
            AND (job_detail.key IS NULL OR job_detail.environ_vars <> ''
                 OR NOT COALESCE({damage.sound("job_detail", sqlite=sqlite)}, FALSE))""",
        f"""SELECT key FROM job WHERE {inside.format("job")} AND application IS NOT NULL
            AND state NOT IN ({_ENDED_LIST}) AND application NOT IN (SELECT key FROM application)""",
    ]
    keys = {key for text in suspects for (key,) in tx.sql.run(text, **within)}
    return examine(tx, directory, sorted(keys))


def examine(tx: Tx, directory: Path, keys: Iterable[int]) -> int:
    """Sets aside those of these jobs with which something is wrong; returns how many."""
    wanted = list(keys)
    rows = {row["key"]: row for row in _rows(tx, "job", "key = {keys}", keys=wanted)}
    details = {row["key"]: row for row in _rows(tx, "job_detail", "key = {keys}", keys=wanted)}
    applications = {key for (key,) in tx.sql.run("SELECT key FROM application")}
    count = 0
    for key, row in rows.items():
        why = damage.problem("job", row)
        if not why and key not in details:
            why = "half of it is missing (job_detail)"
        why = why or damage.problem("job_detail", details[key])
        if not why and row["application"] not in (None, *applications) and row["state"] not in END:
            why = f"its application ({row['application']}) does not exist"
        if why:
            _set_job_aside(tx, directory, row, details.get(key), why)
            count += 1
    return count


def _set_job_aside(tx: Tx, directory: Path, row: dict[str, Any], detail: dict[str, Any] | None, why: str) -> None:
    key = row["key"]
    label = f"{row['name'] or 'job'} ({str(row['job_id'])[:8]})"
    content = {
        "job": row,
        "job_detail": detail,
        "edges": _rows(tx, "edge", "child = :key OR parent = :key", key=key),
        "history": _rows(tx, "event", "job = :key", key=key),
    }
    _write(directory, "job", key, why, content)
    tx.rows.pop(key, None)
    tx.recounts = True  # its state may be what is damaged
    _fail_children(tx, key, f"parent {label} was set aside: {why}")
    tx.flush()
    for table, condition in (
        ("edge", "parent = :key OR child = :key"),
        ("event", "job = :key"),
        ("job_detail", "key = :key"),
        ("job", "key = :key"),
    ):
        tx.sql.run(f"DELETE FROM {table} WHERE {condition}", key=key)
    if row["session"] is not None:
        tx.outcome.stops.append((row["session"], key, row["fence"]))
        tx.outcome.released.append(key)
    if damage.is_uuid(row["job_id"]):
        message = f"set aside: {why}"
        job_id, workflow = str(row["job_id"]), str(row["workflow"] or "")
        tx.outcome.events.append(
            EventRecord(key, job_id, workflow, (), tx.now_us, int(Actor.JOBSTORE), 0, message, deleted=True)
        )


def _fail_children(tx: Tx, parent: int, message: str) -> None:
    """What waits for a job that is no more cannot go on by itself."""
    waiting = [child for (child,) in tx.sql.run("SELECT child FROM edge WHERE parent = :key AND met = 0", key=parent)]
    examined = {row["key"] for row in _rows(tx, "job", "key = {keys}", keys=waiting) if not damage.problem("job", row)}
    for child in tx.load(key for key in waiting if key in examined):
        text = "SELECT count(*) FROM edge WHERE child = :child AND met = 0 AND parent <> :parent"
        child.unmet = tx.sql.run(text, child=child.key, parent=parent)[0][0]  # the count may be as wrong as the edge
        if child.state in WAITING and not child.needs & Needs.NO_WAIT:
            held = child.session is not None and child.state in RUNNABLE
            tx.move(child, (int(State.FAILED),), Actor.JOBSTORE, message)
            if held:
                tx.stop_work(child)


def _edges_to_nothing(tx: Tx, directory: Path, within: dict[str, int]) -> int:
    text = """child > :after AND child <= :upto AND (NOT EXISTS (SELECT 1 FROM job WHERE job.key = edge.child)
              OR NOT EXISTS (SELECT 1 FROM job WHERE job.key = edge.parent))"""
    edges = _rows(tx, "edge", text, **within)
    for edge in edges:
        child, parent = edge["child"], edge["parent"]
        _write(directory, "edge", f"{child}-{parent}", "it joins a job to one that does not exist", {"edge": edge})
        if not edge["met"]:
            _fail_children(tx, parent, "one of its parents does not exist any more")
            tx.flush()
        tx.sql.run("DELETE FROM edge WHERE child = :child AND parent = :parent", child=child, parent=parent)
    return len(edges)


def _put_right(tx: Tx, within: dict[str, int]) -> None:
    inside = "key > :after AND key <= :upto"
    counted = "(SELECT count(*) FROM edge WHERE edge.child = job.key AND edge.met = 0)"
    text = f"SELECT key FROM job WHERE {inside} AND state IN ({_WAITING_LIST}) AND unmet <> {counted}"
    for row in tx.load([key for (key,) in tx.sql.run(text, **within)]):
        before = row.unmet
        row.needs |= int(Needs.PARENTS) * bool(tx.sql.run("SELECT 1 FROM edge WHERE child = :key LIMIT 1", key=row.key))
        tx.look_at_parents(row)
        tx.touch(row)
        tx.recounts = True  # other counts may be as wrong
        log.error("job %s waited for %d parents and not for %d: put right", row.label, row.unmet, before)
    text = f"SELECT key FROM job WHERE {inside} AND session IS NOT NULL AND session NOT IN (SELECT key FROM session)"
    for row in tx.load([key for (key,) in tx.sql.run(text, **within)]):
        log.error("job %s was leased by a session that does not exist: given back", row.label)
        if row.state == State.RUNNING:
            row.lost = 1
            row.restarts += 1
            tx.move(row, (int(State.RUN_TIMEOUT),), Actor.JOBSTORE, "launcher lost: nothing is known of it any more")
        tx.release(row)
    text = f"""SELECT DISTINCT launch FROM job
               WHERE {inside} AND launch IS NOT NULL AND launch NOT IN (SELECT key FROM launch)"""
    for (launch,) in tx.sql.run(text, **within):
        log.error("jobs were bound to launch %s, which does not exist: bound to none", launch)
        tx.unbind(launch)


def set_events_aside(tx: Tx, directory: Path, sequences: Sequence[int]) -> int:
    """Sets aside those of these entries of the history with which something is wrong; returns how many."""
    count = 0
    for row in _rows(tx, "event", "sequence = {keys}", keys=list(sequences)):
        why = damage.problem("event", row)
        if why:
            _write(directory, "event", row["sequence"], why, {"event": row})
            tx.sql.run("DELETE FROM event WHERE sequence = :sequence", sequence=row["sequence"])
            count += 1
    return count


def _rows(tx: Tx, table: str, condition: str, **parameters: Any) -> list[dict[str, Any]]:
    names = [column.name for column in schema.metadata.tables[table].columns]
    text = f"SELECT {', '.join(names)} FROM {table} WHERE {condition}"
    return [dict(zip(names, row, strict=True)) for row in tx.sql.run(text, **parameters)]


def _write(directory: Path, table: str, key: object, why: str, content: dict[str, Any]) -> None:
    """Before the row goes: a crash in between writes the same file again."""
    directory.mkdir(mode=0o700, exist_ok=True)
    target = directory / f"{table}-{key}.json"
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    draft = target.with_suffix(".new")
    with draft.open("w") as file:
        json.dump({"table": table, "key": key, "why": why, "time": when, **content}, file, indent=1, default=repr)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)
    log.error("%s %s was set aside: %s; see %s", table, key, why, target)
