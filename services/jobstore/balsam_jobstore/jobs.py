"""Verbs on jobs: create, change, move, kill, delete. Each runs inside a transaction, on plain values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from balsam.errors import BalsamError, Conflict, NotAllowed, NotFound, ValidationError
from balsam.fields import JOB_FIELDS, Phase
from balsam.states import END, RUNNABLE, WAITING, Actor, State
from balsam_jobstore import edges
from balsam_jobstore.rules import Needs
from balsam_jobstore.tx import EventRecord, Row, Tx, has_failed, is_met, job_label, parent_label

HOT_FIELDS = frozenset(
    {
        "name",
        "workflow",
        "application",
        "priority",
        "num_nodes",
        "ranks_per_node",
        "node_packing_count",
        "wall_time_minutes",
        "max_restarts",
    }
)
"""Fields that are columns of `job`; the others are columns of `job_detail`."""

_DEFAULTS = {name: JOB_FIELDS[name].default for name in HOT_FIELDS}
_NEEDS_BY_FLAG = {
    "wait_for_parents": (Needs.NO_WAIT, False),
    "auto_timeout_retry": (Needs.NO_TIMEOUT_RETRY, False),
    "post_error_handler": (Needs.ERROR_HANDLER, True),
    "post_timeout_handler": (Needs.TIMEOUT_HANDLER, True),
    "stage_in_url": (Needs.STAGE_IN_URL, True),
    "input_files": (Needs.INPUT_FILES, True),
}
_SCRIPTS = int(Needs.PREPROCESS | Needs.POSTPROCESS)
_JOB_COLUMNS = (
    "key",
    "job_id",
    "state",
    "needs",
    "unmet",
    "failed_parent",
    "fence",
    "attempt",
    "tries",
    "restarts",
    "max_restarts",
    "lost",
    "revision",
    "priority",
    "num_nodes",
    "ranks_per_node",
    "node_packing_count",
    "wall_time_minutes",
    "application",
    "name",
    "workflow",
)
_DIGITS = 8
MOST_REFUSALS = 100


@dataclass(slots=True)
class NewJob:
    """A job to add: values that were checked, only those that were given."""

    job_id: str
    index: int
    values: dict[str, Any]
    parents: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Refused:
    """Why one item was not done."""

    job_id: str
    index: int
    reason: str
    message: str
    field: str = ""


def refused(job_id: str, index: int, error: BalsamError) -> Refused:
    """The refusal that an error amounts to."""
    return Refused(job_id, index, error.reason, str(error), error.field)


@dataclass(slots=True)
class Created:
    """What became of jobs to add."""

    created: int = 0
    existing: int = 0
    refusals: list[Refused] = field(default_factory=list)


class NotAllCreated(BalsamError):
    """All or nothing was asked for, and something was refused."""

    def __init__(self, outcome: Created) -> None:
        super().__init__(f"{len(outcome.refusals)} jobs were refused")
        self.outcome = outcome


@dataclass(slots=True)
class _Fresh:
    """What children and rules need to know of a job that is being added."""

    key: int
    state: int
    needs: int
    unmet: int
    failed_parent: int | None
    label: str
    max_restarts: int
    failed_label: str = ""
    """How messages name the failed parent."""
    lost: int = 0
    restarts: int = 0
    session: int | None = None


def create(tx: Tx, jobs: Sequence[NewJob], *, owner: str, actor: Actor, atomic: bool) -> Created:
    """Adds jobs, in order. A job that is there already counts as existing and is left as it is.

    Raises:
        NotAllCreated: `atomic`, and something was refused.
    """
    outcome = Created()
    existing, workdirs = _probe(tx, [job.job_id for job in jobs])
    applications = _applications(tx, {job.values["application"] for job in jobs if job.values.get("application")})
    batch = {job.job_id for job in jobs}
    outside = {parent for job in jobs for parent in job.parents if parent not in batch}
    outside |= {parent for job in jobs for parent in job.parents if parent in existing}
    parent_rows = {row.job_id: row for row in tx.load(tx.keys_of(sorted(outside)).values())} if outside else {}
    first_key = _reserve_keys(tx, len(jobs))
    fresh: dict[str, _Fresh] = {}
    rows: list[list[Any]] = []
    details: dict[tuple[str, ...], list[list[Any]]] = {}
    links: list[tuple[int, int, int]] = []
    taken = _Workdirs(workdirs)
    for job in jobs:
        if job.job_id in existing or job.job_id in fresh:
            outcome.existing += 1
            continue
        try:
            parents = [_parent(parent, job, fresh, parent_rows) for parent in job.parents]
            application = _application(tx, applications, job.values.get("application", ""))
            _check_launch(job.values)
        except BalsamError as error:
            outcome.refusals.append(refused(job.job_id, job.index, error))
            continue
        made = _make(tx, job, first_key + len(rows), application, parents, links)
        fresh[job.job_id] = made
        path = _record_creation(tx, job, made, actor)
        made.state = path
        rows.append(_job_row(job, made, application))
        columns, values = _detail_row(job, made.key, tx.now_us, owner, taken.path_for(job))
        details.setdefault(columns, []).append(values)
        outcome.created += 1
    if atomic and outcome.refusals:
        raise NotAllCreated(outcome)
    _write(tx, rows, details, links, fresh)
    if rows:
        tx.runnable = True
    return outcome


def _probe(tx: Tx, ids: list[str]) -> tuple[set[str], set[str]]:
    """Which of these ids exist, and the working directories of the jobs whose ids start with the same eight digits."""
    if tx.sql.is_sqlite:
        text = """SELECT j.job_id, d.workdir FROM json_each(:ids) v JOIN job j
                  ON j.job_id >= substr(v.value, 1, 8) AND j.job_id < substr(v.value, 1, 8) || 'g'"""
    else:
        text = """SELECT j.job_id, d.workdir FROM unnest(:ids::text[]) v JOIN job j
                  ON j.job_id >= (left(v, 8) || '-0000-0000-0000-000000000000')::uuid
                  AND j.job_id <= (left(v, 8) || '-ffff-ffff-ffff-ffffffffffff')::uuid"""
    cousins = tx.sql.run(f"{text} JOIN job_detail d ON d.key = j.key", ids=ids)
    return {row[0] for row in cousins}.intersection(ids), {row[1] for row in cousins}


def _reserve_keys(tx: Tx, count: int) -> int:
    text = "UPDATE counter SET job_key = job_key + :n WHERE id = 1 RETURNING job_key"
    return int(tx.sql.run(text, n=count)[0][0]) - count + 1


def _applications(tx: Tx, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Name -> (key, needs) of applications."""
    wanted = sorted(names)
    if not wanted:
        return {}
    found = tx.sql.run("SELECT name, key, preprocess, postprocess FROM application WHERE name = {names}", names=wanted)
    return {name: (key, script_needs(preprocess, postprocess)) for name, key, preprocess, postprocess in found}


def script_needs(preprocess: str, postprocess: str) -> int:
    """What an application's scripts add to a job's needs."""
    return int((Needs.PREPROCESS if preprocess else 0) | (Needs.POSTPROCESS if postprocess else 0))


def _application(tx: Tx, known: Mapping[str, tuple[int, int]], name: str) -> tuple[int | None, int]:
    if not name:
        return None, 0
    if name not in known:
        raise unknown_application(name, application_names(tx))
    return known[name]


def _check_launch(values: Mapping[str, Any]) -> None:
    """Binding a job to a launch that does not exist would hold it for ever."""
    if values.get("queued_launch"):
        raise NotFound(f"queued_launch = {values['queued_launch']!r}: there is no such launch", field="queued_launch")


def application_names(tx: Tx) -> list[str]:
    """The first names of applications, for an error."""
    return [name for (name,) in tx.sql.run("SELECT name FROM application ORDER BY name LIMIT 20")]


def unknown_application(name: str, known: Sequence[str]) -> NotFound:
    """The error for an application that does not exist; names those that do."""
    there = f"there are: {', '.join(known)}" if known else "there is none yet, add it with `balsam app`"
    return NotFound(f"application {name!r} does not exist ({there})", field="application")


def _parent(parent: str, job: NewJob, fresh: Mapping[str, _Fresh], rows: Mapping[str, Row]) -> _Fresh | Row:
    found = fresh.get(parent) or rows.get(parent)
    if found is None:
        what = (
            "is the job itself" if parent == job.job_id else "no such job (a parent must be added before its children)"
        )
        raise ValidationError(f"parents = {parent}: {what}", reason="INVALID_PARENTS", field="parents")
    return found


def _make(
    tx: Tx,
    job: NewJob,
    key: int,
    application: tuple[int | None, int],
    parents: Sequence[_Fresh | Row],
    links: list[tuple[int, int, int]],
) -> _Fresh:
    needs = application[1]
    for name, (bit, when) in _NEEDS_BY_FLAG.items():
        if name in job.values and bool(job.values[name]) is when:
            needs |= bit
    if job.values.get("stage_out_url") and job.values.get("stage_out_files"):
        needs |= Needs.STAGE_OUT
    unmet = 0
    failed: _Fresh | Row | None = None
    if parents and not needs & Needs.NO_WAIT:
        failed = next((parent for parent in parents if has_failed(parent)), None)
    if parents:
        needs |= Needs.PARENTS
        for parent in parents:
            parent.needs = int(parent.needs | Needs.CHILDREN)
            met = is_met(parent)
            links.append((key, parent.key, int(met)))
            unmet += not met
    return _Fresh(
        key,
        int(State.CREATED),
        int(needs),
        unmet,
        failed.key if failed else None,
        job_label(job.values.get("name", ""), job.job_id),
        job.values.get("max_restarts", _DEFAULTS["max_restarts"]),
        parent_label(failed.label, failed.state) if failed else "",
    )


def _record_creation(tx: Tx, job: NewJob, made: _Fresh, actor: Actor) -> int:
    """The events of a job's creation, and of all that follows from it by rule; returns the state it is then in."""
    workflow = job.values.get("workflow", "")
    created = (int(State.CREATED),)
    tx.outcome.events.append(EventRecord(made.key, job.job_id, workflow, created, tx.now_us, int(actor), 0))
    move = tx.rules.next_move(made)
    if move is None:
        return made.state
    message = move.message.replace("{parent}", made.failed_label).replace("{reason}", "")
    tx.outcome.events.append(
        EventRecord(made.key, job.job_id, workflow, move.path, tx.now_us, int(Actor.SCHEDULER), 0, message)
    )
    return move.path[-1]


def _job_row(job: NewJob, made: _Fresh, application: tuple[int | None, int]) -> list[Any]:
    values = job.values
    get = values.get
    return [
        made.key,
        job.job_id,
        made.state,
        made.needs,
        made.unmet,
        made.failed_parent,
        0,
        0,
        0,
        0,
        made.max_restarts,
        0,
        1,
        get("priority", 0),
        get("num_nodes", 1),
        get("ranks_per_node", 1),
        get("node_packing_count", 1),
        get("wall_time_minutes", 1),
        application[0],
        get("name", ""),
        get("workflow", ""),
    ]


def _detail_row(job: NewJob, key: int, now_us: int, owner: str, workdir: str) -> tuple[tuple[str, ...], list[Any]]:
    columns = ["key", "create_us", "owner", "workdir"]
    row: list[Any] = [key, now_us, owner, workdir]
    for name, value in job.values.items():
        if name not in HOT_FIELDS:
            columns.append(name)
            row.append(encode(name, value))
    return tuple(columns), row


def encode(name: str, value: Any) -> Any:
    """A field's value as its column holds it."""
    if name == "environ_vars":
        return json.dumps(value, ensure_ascii=False) if value else ""
    if name == "data":
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if name == "cpu_affinity":
        return 2 if value == "depth" else 1
    if isinstance(value, bool):
        return int(value)
    return value


class _Workdirs:
    """Gives each new job a working directory of its own, by as many digits of its id as that takes."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken

    def path_for(self, job: NewJob) -> str:
        own = job.values.get("user_workdir")
        if own:
            return str(own)
        workflow, folder = job.values.get("workflow", ""), _folder(job.values.get("name", ""))
        stem = f"{workflow}/{folder}_" if workflow else f"{folder}_"
        path = stem + job.job_id[:_DIGITS]
        if path in self._taken:
            path = stem + job.job_id
        self._taken.add(path)
        return path


def _folder(name: str) -> str:
    return "_".join(name.split()) if name else "job"


def _write(
    tx: Tx,
    rows: list[list[Any]],
    details: Mapping[tuple[str, ...], list[list[Any]]],
    links: list[tuple[int, int, int]],
    fresh: Mapping[str, _Fresh],
) -> None:
    if links:
        needs = {made.key: made.needs for made in fresh.values()}
        for row in rows:
            row[3] = needs[row[0]]  # parents in the same batch have learned of their children meanwhile
    tx.sql.insert("job", _JOB_COLUMNS, rows)
    for columns, values in details.items():
        tx.sql.insert("job_detail", columns, values)
    tx.sql.insert("edge", ("child", "parent", "met"), links)


# Changes


def update(
    tx: Tx,
    row: Row,
    changes: Mapping[str, Any],
    *,
    expected_revision: int = 0,
    actor: Actor = Actor.USER,
    message: str = "",
) -> None:
    """Changes fields of a job; `state` is a move, `parents` replaces its parents.

    Raises:
        Conflict: the revision is another.
        NotAllowed: a field cannot be changed now.
        ValidationError: a value is wrong.
    """
    if expected_revision and row.revision != expected_revision:
        raise Conflict(
            f"job {row.label} was changed meanwhile (revision {row.revision}, yours is of {expected_revision}); "
            "refresh it and try again"
        )
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
    _check_launch(plain)
    _change_fields(tx, row, plain)
    if "parents" in changes:
        edges.replace_parents(tx, row, changes["parents"])
    if shaping and row.session is not None and row.state in RUNNABLE:
        tx.stop_work(row)  # leased with the old values: take it back
    if "state" in changes and State[changes["state"]] != row.state:
        set_state(tx, row, State[changes["state"]], actor, message)


def _change_fields(tx: Tx, row: Row, changes: Mapping[str, Any]) -> None:
    detail: dict[str, object] = {}
    if "application" in changes:  # first: it may be refused, and nothing must have changed then
        wanted = changes["application"]
        row.application, bits = _application(tx, _applications(tx, {wanted} if wanted else ()), wanted)
        row.needs = (row.needs & ~_SCRIPTS) | bits
    for name, value in changes.items():
        if name == "application":
            continue
        if name in HOT_FIELDS:
            setattr(row, name, value)
        else:
            detail[name] = encode(name, value)
        if name in _NEEDS_BY_FLAG:
            bit, when = _NEEDS_BY_FLAG[name]
            row.needs = row.needs & ~int(bit) | (int(bit) if bool(value) is when else 0)
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
        InvalidStateError: the graph does not allow it.
    """
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


def kill(tx: Tx, rows: Iterable[Row], *, recursive: bool, actor: Actor, message: str) -> Killed:
    """Kills jobs, and with `recursive` all that depend on them; ended ones are left as they are and passed through."""
    outcome = Killed()
    seen: set[int] = set()
    level = list(rows)
    while level:
        seen.update(row.key for row in level)
        for row in level:
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


def delete(tx: Tx, rows: Sequence[Row], *, kill_running: bool) -> tuple[int, list[Refused]]:
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
    for row in gone:
        if row.needs & Needs.CHILDREN:
            edges.orphan_children(tx, row, leaving)
    tx.flush()
    tx.sql.run("DELETE FROM edge WHERE parent = {keys}", keys=keys)
    tx.sql.run("DELETE FROM edge WHERE child = {keys}", keys=keys)
    for table, column in (("event", "job"), ("job_detail", "key"), ("job", "key")):
        tx.sql.run(f"DELETE FROM {table} WHERE {column} = {{keys}}", keys=keys)
    for row in gone:
        tx.forget(row)
    tx.outcome.events = [event for event in tx.outcome.events if event.key not in leaving]
    for row in gone:
        tx.outcome.events.append(
            EventRecord(
                row.key, row.job_id, row.workflow, (), tx.now_us, int(Actor.USER), row.attempt, "deleted", deleted=True
            )
        )
    return len(gone), refusals


def existing_rows(tx: Tx, job_ids: Sequence[str]) -> Iterator[Row | Refused]:
    """The rows of jobs, in order; a refusal for each that does not exist."""
    keys = tx.keys_of(job_ids)
    tx.load(keys.values())
    for index, job_id in enumerate(job_ids):
        row = tx.rows.get(keys[job_id]) if job_id in keys else None
        yield row if row is not None else Refused(job_id, index, "NOT_FOUND", f"there is no job {job_id}")
