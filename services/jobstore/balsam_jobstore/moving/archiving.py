"""Deletes what an archive holds: only jobs that are as it says, and that no other job needs."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from balsam.errors import NotAllowed
from balsam.states import END, State
from balsam_jobstore import jobs
from balsam_jobstore.database import Sql
from balsam_jobstore.moving import checking, records
from balsam_jobstore.moving.format import Line
from balsam_jobstore.refusals import MOST_REFUSALS, Refused, refused
from balsam_jobstore.tx import Tx

AT_ONCE = 200


@dataclass
class Removed:
    """What became of the jobs of an archive."""

    deleted: int = 0
    gone: int = 0
    refused: int = 0
    refusals: list[Refused] = field(default_factory=list)
    """The first."""

    def refuse(self, job_id: str, number: int, what: str) -> None:
        """Counts a job that stays."""
        self.refused += 1
        if len(self.refusals) < MOST_REFUSALS:
            self.refusals.append(refused(job_id, number, NotAllowed(f"job {job_id[:8]} stays: {what}")))


@dataclass
class Archived:
    """The jobs to delete, as few bytes each: key, revision, events, line."""

    columns: tuple[array[int], ...] = field(default_factory=lambda: tuple(array("q") for _ in range(4)))

    def batches(self) -> Iterator[list[tuple[int, ...]]]:
        """The jobs, the last first: children before their parents."""
        count = len(self.columns[0])
        for end in range(count, 0, -AT_ONCE):
            start = max(0, end - AT_ONCE)
            yield list(zip(*(column[start:end] for column in self.columns), strict=True))[::-1]


def compare(sql: Sql, lines: Sequence[Line], archived: Archived, outcome: Removed) -> None:
    """Adds to `archived` the jobs that are here exactly as the lines say.

    Raises:
        ValidationError: a line holds no job.
    """
    for line in lines:
        if line.kind == "job":
            checking.check_job(line.value)
    ids = [line.value["job_id"] for line in lines if line.kind == "job"]
    match = "= {ids}" if sql.is_sqlite else "= ANY(:ids::uuid[])"
    keys = dict(sql.run(f"SELECT job_id, key FROM job WHERE job_id {match}", ids=ids))
    here = {record["job_id"]: record for record in records.job_records(sql, list(keys.values()))}
    for line in lines:
        if line.kind != "job":
            continue
        job_id = line.value["job_id"]
        if job_id not in here:
            outcome.gone += 1
        elif other := records.differences(here[job_id], line.value):
            outcome.refuse(job_id, line.number, f"its {other[0]} has changed since the archive was written")
        else:
            values = (keys[job_id], line.value["revision"], len(line.value["history"]), line.number)
            for column, value in zip(archived.columns, values, strict=True):
                column.append(value)


def remove(tx: Tx, batch: Sequence[tuple[int, ...]]) -> Removed:
    """Deletes jobs that were compared, if nothing has happened to them since; children come before parents."""
    outcome = Removed()
    keys = [key for key, *_ in batch]
    rows = {row.key: row for row in tx.load(keys)}
    text = "SELECT job, count(*) FROM event WHERE job = {keys} AND deleted_id IS NULL GROUP BY job"
    events = dict(tx.sql.run(text, keys=keys))
    children: dict[int, set[int]] = {}
    for parent, child in tx.sql.run("SELECT parent, child FROM edge WHERE parent = {keys}", keys=keys):
        children.setdefault(parent, set()).add(child)
    leaving: set[int] = set()
    for key, revision, count, number in batch:
        row = rows.get(key)
        if row is None:
            outcome.gone += 1
        elif row.revision != revision or events.get(key) != count or row.session is not None or row.state not in END:
            outcome.refuse(row.job_id, number, f"it is {State(row.state).name}, and has changed since it was compared")
        elif children.get(key, set()) - leaving:
            outcome.refuse(row.job_id, number, "a job that is not in the archive, or stays, depends on it")
        else:
            leaving.add(key)
    outcome.deleted, _ = jobs.delete(tx, [rows[key] for key in keys if key in leaving], kill_running=False)
    return outcome
