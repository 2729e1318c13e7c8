"""Verbs on jobs that exist: change, move, kill, delete. Each runs inside a transaction, on plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from balsam.errors import InvalidStateError, NotAllowed, ValidationError
from balsam.fields import JOB_FIELDS, Phase
from balsam.states import END, RUNNABLE, WAITING, Actor, State
from balsam_jobstore import edges
from balsam_jobstore.applications import SCRIPTS, application_needs, find_needs
from balsam_jobstore.columns import HOT_FIELDS, NEEDS_BY_FLAG, bit_of_flag, encode
from balsam_jobstore.history import EventRecord
from balsam_jobstore.launches import bindable, launch_to_bind
from balsam_jobstore.records import check_revision
from balsam_jobstore.refusals import Refused, refused
from balsam_jobstore.rows import Row
from balsam_jobstore.rules import Needs
from balsam_jobstore.tx import Tx


def update(
    tx: Tx,
    row: Row,
    changes: Mapping[str, Any],
    *,
    expected_revision: int = 0,
    actor: Actor = Actor.USER,
    message: str = "",
) -> int:
    """Changes fields of a job; `state` is a move, `parents` replaces its parents; gives the revision that this makes.

    Raises:
        Conflict: the revision is another.
        NotAllowed: a field cannot be changed now.
        ValidationError: a value is wrong.
    """
    if tx.is_changed(row):
        tx.flush()  # somebody else was first, in this transaction: that is a revision of its own
    check_revision(f"job {row.label}", row.revision, expected_revision)
    shaping = [name for name in changes if JOB_FIELDS[name].phase is Phase.BEFORE_RUN]
    if shaping and row.state == State.RUNNING:
        raise NotAllowed(
            f"{shaping[0]} cannot change while job {row.label} is RUNNING; kill it, or wait for its end",
            field=shaping[0],
        )
    fixed = next((name for name in changes if JOB_FIELDS[name].phase in (Phase.NEVER, Phase.CREATION)), None)
    if fixed:
        raise ValidationError(f"{fixed} cannot be changed ({JOB_FIELDS[fixed].phase.value})", field=fixed)
    plain = {name: value for name, value in changes.items() if name not in ("state", "parents")}
    if "name" in changes and row.attempt and changes["name"] != row.name:
        raise NotAllowed(
            f"the name of job {row.label} cannot change any more: it has run, and its output file has that name",
            field="name",
        )
    launch = row.launch
    _change_fields(tx, row, plain)
    if "parents" in changes:
        edges.replace_parents(tx, row, changes["parents"])
    if (shaping or row.launch != launch) and row.state in RUNNABLE:
        tx.stop_work(row)  # leased with the old values: take it back
    if "state" in changes and State[changes["state"]] != row.state:
        set_state(tx, row, State[changes["state"]], actor, message)
    return row.revision + tx.is_changed(row)


def _change_fields(tx: Tx, row: Row, changes: Mapping[str, Any]) -> None:
    detail: dict[str, object] = {}
    # First what may be refused: nothing must have changed then.
    if "queued_launch" in changes:
        launch = launch_to_bind(bindable(tx, [changes["queued_launch"]]), changes["queued_launch"])
    if "application" in changes:
        wanted = changes["application"]
        row.application, bits = application_needs(tx, find_needs(tx, {wanted} if wanted else ()), wanted)
        row.needs = (row.needs & ~SCRIPTS) | bits
    if "queued_launch" in changes:
        row.launch = launch
    for name, value in changes.items():
        if name in ("application", "queued_launch"):
            continue
        if name in HOT_FIELDS:
            setattr(row, name, value)
        else:
            detail[name] = encode(name, value)
        if name in NEEDS_BY_FLAG:
            row.needs = row.needs & ~NEEDS_BY_FLAG[name][0] | bit_of_flag(name, value)
    if detail:
        tx.change_detail(row, detail)
    if changes.get("user_workdir"):
        tx.change_detail(row, {"workdir": changes["user_workdir"]})
    if "wait_for_parents" in changes and row.state in WAITING:
        tx.look_at_parents(row)
    if "stage_out_url" in changes or "stage_out_files" in changes:
        _update_stage_out(tx, row, changes)
    if changes:
        tx.touch(row)


def _update_stage_out(tx: Tx, row: Row, changes: Mapping[str, Any]) -> None:
    found = tx.sql.run("SELECT stage_out_url, stage_out_files FROM job_detail WHERE key = :key", key=row.key)
    url, files = found[0] if found else ("", "")
    both = changes.get("stage_out_url", url) and changes.get("stage_out_files", files)
    row.needs = row.needs & ~int(Needs.STAGE_OUT) | (int(Needs.STAGE_OUT) if both else 0)


def set_state(tx: Tx, row: Row, target: State, actor: Actor, message: str = "") -> None:
    """Moves a job as a user or a script may; a running job's processes are stopped.

    Raises:
        InvalidStateError: the graph does not allow it, or it would run before its parents have finished.
    """
    if target is State.RESTART_READY and row.unmet and not row.needs & Needs.NO_WAIT:
        raise InvalidStateError(
            f"job {row.label} waits for {row.unmet} parents that have not finished; set it to CREATED, and it runs "
            "when they have",
            field="state",
        )
    held_by_script = row.session is not None and row.state not in RUNNABLE and row.state != State.RUNNING
    tx.checked_move(row, target, actor, message)
    # A script that moves its own job goes on to its end, and what follows waits for that.
    if not held_by_script or target is State.USER_KILLED:
        tx.stop_work(row)


@dataclass(slots=True)
class Killed:
    """What became of a kill."""

    killed: int = 0
    stopping: int = 0
    already_ended: int = 0
    refusals: list[Refused] = field(default_factory=list)


Sort = Callable[[Tx, Sequence[Row]], tuple[list[Row], list[Refused]]]
"""Gives the jobs that may be changed, and refusals for the others."""


def kill(
    tx: Tx, rows: Iterable[Row], *, recursive: bool, actor: Actor, message: str, sort: Sort | None = None
) -> Killed:
    """Kills jobs, and with `recursive` all that depend on them. Ended ones, and those that `sort` refuses, are left as
    they are and passed through."""
    outcome = Killed()
    seen: set[int] = set()
    level = list(rows)
    while level:
        seen.update(row.key for row in level)
        mine = level
        if sort is not None:
            mine, others = sort(tx, level)
            outcome.refusals += others
        for row in mine:
            if row.state in END:
                outcome.already_ended += 1
                continue
            outcome.killed += 1
            outcome.stopping += row.session is not None
            set_state(tx, row, State.USER_KILLED, actor, message)
        below: list[Row] = []
        if recursive:
            parents = [row.key for row in level if row.needs & Needs.CHILDREN]
            found = tx.sql.run("SELECT DISTINCT child FROM edge WHERE parent = {parents}", parents=parents)
            below = tx.load(key for (key,) in found if key not in seen)
        level = below
    return outcome


def delete(tx: Tx, rows: Sequence[Row], *, kill_running: bool, actor: Actor = Actor.USER) -> tuple[int, list[Refused]]:
    """Deletes jobs and their history; jobs at work only with `kill_running`. Their waiting children fail."""
    refusals: list[Refused] = []
    gone: list[Row] = []
    for row in rows:
        if row.session is not None or row.state == State.RUNNING:
            if not kill_running:
                error = NotAllowed(
                    f"job {row.label} is {State(row.state).name} and at work; delete it with --kill, or kill it first",
                    reason="IN_USE",
                )
                refusals.append(refused(row.job_id, 0, error))
                continue
            tx.stop_work(row)
            tx.outcome.released.append(row.key)
        gone.append(row)
    keys = [row.key for row in gone]
    if not keys:
        return 0, refusals
    leaving = set(keys)
    bereft: list[Row] = []
    for row in gone:
        if row.needs & Needs.CHILDREN:
            bereft += edges.orphan_children(tx, row, leaving)
    tx.flush()
    tx.sql.run("DELETE FROM edge WHERE parent = {keys}", keys=keys)
    tx.sql.run("DELETE FROM edge WHERE child = {keys}", keys=keys)
    for child in bereft:
        tx.look_at_parents(child)
    for table, column in (("event", "job"), ("job_detail", "key"), ("job", "key")):
        tx.sql.run(f"DELETE FROM {table} WHERE {column} = {{keys}}", keys=keys)
    for row in gone:
        tx.forget(row)
    tx.outcome.events = [event for event in tx.outcome.events if event.key not in leaving]
    for row in gone:
        event = EventRecord(
            row.key, row.job_id, row.workflow, (), tx.now_us, int(actor), row.attempt, "deleted", deleted=True
        )
        tx.outcome.events.append(event)
        tx.sign(event, row.owner_key)
    return len(gone), refusals


def existing_rows(tx: Tx, job_ids: Sequence[str]) -> Iterator[Row | Refused]:
    """The rows of jobs, in order; a refusal for each that does not exist."""
    keys = tx.keys_of(job_ids)
    tx.load(keys.values())
    for index, job_id in enumerate(job_ids):
        row = tx.rows.get(keys[job_id]) if job_id in keys else None
        yield row if row is not None else Refused(job_id, index, "NOT_FOUND", f"there is no job {job_id}")
