"""Writes what a file holds into the database: the rows of jobs with their history, applications, launches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from balsam.fields import LAUNCH_OVER
from balsam.states import END, WAITING, Actor, State
from balsam_jobstore.applications import find_needs
from balsam_jobstore.columns import NEEDS_BY_FLAG, bit_of_flag, encode
from balsam_jobstore.history import EventRecord
from balsam_jobstore.moving.records import NARROW, WIDE, Record, time_us
from balsam_jobstore.rows import Row, has_failed, is_met
from balsam_jobstore.rules import Needs
from balsam_jobstore.tx import Tx

_APPLICATION = ("name", "executable", "description", "preprocess", "postprocess", "envscript", "python")
_LAUNCH = (
    *("request_id", "scheduler_id", "project", "queue", "nodes", "wall_minutes", "job_mode", "wf_filter"),
    *("sched_flags", "command", "prescheduled_only", "from_balsam", "message", "batch_system"),
)
_COMPUTED = ("key", "job_id", "state", "needs", "unmet", "failed_parent", "application", "launch")
LOST = "launcher lost: the job ran where the file that it was imported from was written"


def write_application(tx: Tx, record: Record, owner: str) -> None:
    """Registers an application that is not here."""
    values = [*(record[name] for name in _APPLICATION), owner, time_us(record["create_time"]), record["revision"]]
    tx.sql.insert("application", (*_APPLICATION, "owner", "create_us", "revision"), [values])


def write_launch(tx: Tx, record: Record, owner: str) -> None:
    """Records a launch that is not here. It keeps its number, if that was never given here.

    One that was still to come or ran is over: it belongs to the site that submitted it, and will run nothing of this.
    """
    state = record["state"] if record["state"] in LAUNCH_OVER else "ENDED"
    columns: tuple[str, ...] = (*_LAUNCH, "state", "owner", "create_us", "revision")
    values: list[Any] = [int(value) if type(value) is bool else value for value in map(record.get, _LAUNCH)]
    values += [state, owner, time_us(record["create_time"]), record["revision"]]
    if record["launch_id"] > last_number(tx, "launch"):
        columns, values = ("key", *columns), [record["launch_id"], *values]
    tx.sql.insert("launch", columns, [values])
    if columns[0] == "key" and not tx.sql.is_sqlite:
        tx.sql.run("SELECT setval(pg_get_serial_sequence('launch', 'key'), :number)", number=record["launch_id"])


def last_number(tx: Tx, table: str) -> int:
    """The last number that was given to a row of a table, whether that row is still there or not."""
    if tx.sql.is_sqlite:
        found = tx.sql.run("SELECT seq FROM sqlite_sequence WHERE name = :table", table=table)
        return int(found[0][0]) if found else 0
    ((last, is_called),) = tx.sql.run(f"SELECT last_value, is_called FROM {table}_key_seq")
    return int(last) if is_called else int(last) - 1


def write_jobs(tx: Tx, jobs: Sequence[Record], owner: str) -> None:
    """Adds jobs that are not here and whose parents are, or come before them. What follows by rule follows."""
    first = tx.reserve_keys(len(jobs))
    keys = {record["job_id"]: first + index for index, record in enumerate(jobs)}
    parents = _Parents(tx, jobs, keys)
    applications = find_needs(tx, {record["application"] for record in jobs} - {""})
    launches = _launches(tx, jobs)
    rows, details, links = [], [], []
    for record in jobs:
        key = keys[record["job_id"]]
        facts = parents.facts(record)
        links += [(key, parent, int(met)) for parent, met in facts.met.items()]
        application, scripts = applications.get(record["application"], (None, 0))
        needs = _needs(record) | scripts
        launch = launches.get(record["queued_launch"])
        if launch is None and record["queued_launch"] is not None:
            record["revision"] += 1  # it is bound no longer
        rows.append(
            [
                *(key, record["job_id"], int(State[record["state"]]), needs, list(facts.met.values()).count(False)),
                *(facts.failed, application, launch, *(record[name] for name in NARROW)),
            ]
        )
        columns = [encode(name, record[name]) for name in WIDE]
        details.append([key, time_us(record["create_time"]), owner, record["working_directory"], *columns])
        tx.outcome.events += _events(record, key)
    tx.counts.update([row[2] for row in rows])
    tx.sql.insert("job", (*_COMPUTED, *NARROW), rows)
    tx.sql.insert("job_detail", ("key", "create_us", "owner", "workdir", *WIDE), details)
    tx.sql.insert("edge", ("child", "parent", "met"), links)
    _go_on(tx, list(keys.values()))


def _go_on(tx: Tx, keys: Sequence[int]) -> None:
    """Those that ran have lost their launcher; what can follow for the others does."""
    for row in tx.load(keys):
        if row.state == State.RUNNING:
            row.lost = 1
            row.restarts += 1
            tx.move(row, (int(State.RUN_TIMEOUT),), Actor.JOBSTORE, LOST)
        elif row.state not in END:
            tx.touch(row)
    tx.runnable = True


def _needs(record: Record) -> int:
    needs = int(Needs.CHILDREN if record["has_children"] else 0) | int(Needs.PARENTS if record["parents"] else 0)
    for name in NEEDS_BY_FLAG:
        needs |= bit_of_flag(name, record[name])
    return needs | int(Needs.STAGE_OUT if record["stage_out_url"] and record["stage_out_files"] else 0)


def _launches(tx: Tx, jobs: Sequence[Record]) -> dict[str, int]:
    """Request -> number of launches that may still run something."""
    wanted = sorted({record["queued_launch"] for record in jobs} - {None})
    array = "= {ids}" if tx.sql.is_sqlite else "= ANY(:ids::uuid[])"
    found = tx.sql.run(f"SELECT request_id, key, state FROM launch WHERE request_id {array}", ids=wanted)
    return {request: key for request, key, state in found if state not in LAUNCH_OVER}


def _events(record: Record, key: int) -> list[EventRecord]:
    return [
        EventRecord(
            key,
            record["job_id"],
            record["workflow"],
            tuple(int(State[name]) for name in event["states"]),
            time_us(event["time"]),
            int(Actor[event["actor"]]),
            event["attempt"],
            event.get("message", ""),
            event.get("exit_code"),
            record_us=time_us(event["recorded"]),
        )
        for event in record["history"]
    ]


class _Facts:
    """What a child must know of its parents."""

    def __init__(self) -> None:
        self.met: dict[int, bool] = {}
        """Key of a parent -> whether the child waits for it no longer."""
        self.failed: int | None = None


class _Parent:
    """A parent that comes from the file: nobody works on it here."""

    session: int | None = None

    def __init__(self, record: Record) -> None:
        self.state = int(State[record["state"]])


class _Parents:
    """The parents of a batch: those of the batch itself, and those that are here."""

    def __init__(self, tx: Tx, jobs: Sequence[Record], keys: dict[str, int]) -> None:
        outside = {parent for record in jobs for parent in record["parents"]} - keys.keys()
        here: list[Row] = tx.load(tx.keys_of(sorted(outside)).values())
        for row in here:
            row.needs |= int(Needs.CHILDREN)
        self._keys = keys | {row.job_id: row.key for row in here}
        self._parents: dict[str, _Parent | Row] = {row.job_id: row for row in here}
        self._parents |= {record["job_id"]: _Parent(record) for record in jobs}
        by_id = {record["job_id"]: record for record in jobs}
        for parent in {parent for record in jobs for parent in record["parents"]} & keys.keys():
            by_id[parent]["has_children"] = True

    def facts(self, record: Record) -> _Facts:
        """Who still waits, waits for what has not finished here; of others, what their past has left is kept."""
        facts = _Facts()
        waits = State[record["state"]] in WAITING
        for parent in record["parents"]:
            met = is_met(self._parents[parent]) if waits else parent not in record["unmet_parents"]
            facts.met[self._keys[parent]] = met
        if not waits:
            failed = record["failed_parent"]
        elif record["wait_for_parents"]:
            failed = next((parent for parent in record["parents"] if has_failed(self._parents[parent])), None)
        else:
            failed = None
        facts.failed = None if failed is None else self._keys[failed]
        return facts
