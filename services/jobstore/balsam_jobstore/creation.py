"""Adding jobs: many at a time, in order, with few statements. Runs inside a transaction, on plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from balsam.errors import BalsamError, ValidationError
from balsam.fields import JOB_FIELDS
from balsam.states import Actor, State
from balsam_jobstore.applications import application_needs, find_needs
from balsam_jobstore.auditing import THE_OWNER
from balsam_jobstore.columns import HOT_FIELDS, NEEDS_BY_FLAG, bit_of_flag, encode
from balsam_jobstore.database import Sql
from balsam_jobstore.history import EventRecord
from balsam_jobstore.launches import bindable, launch_to_bind
from balsam_jobstore.refusals import Refused, refused
from balsam_jobstore.rows import OWNER_KEY, Row, has_failed, is_met, job_label, parent_label
from balsam_jobstore.rules import Needs
from balsam_jobstore.tx import Tx

if TYPE_CHECKING:
    from balsam_jobstore.rights import Rights

_DEFAULTS = {name: JOB_FIELDS[name].default for name in HOT_FIELDS}
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
    "launch",
)
_DIGITS = 8
_CREATED = (int(State.CREATED),)
_SCHEDULER = int(Actor.SCHEDULER)
_NO_WAIT, _STAGE_OUT = int(Needs.NO_WAIT), int(Needs.STAGE_OUT)
_PARENTS, _CHILDREN = int(Needs.PARENTS), int(Needs.CHILDREN)


@dataclass(slots=True)
class NewJob:
    """A job to add: values that were checked, only those that were given."""

    job_id: str
    index: int
    values: dict[str, Any]
    parents: list[str] = field(default_factory=list)


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

    job: NewJob
    key: int
    state: int
    needs: int
    unmet: int
    failed_parent: int | None
    max_restarts: int
    failed_label: str = ""
    """How messages name the failed parent."""
    lost: int = 0
    restarts: int = 0
    session: int | None = None

    @property
    def label(self) -> str:
        """How messages name it."""
        return job_label(self.job.values.get("name", ""), self.job.job_id)


def create(
    tx: Tx, jobs: Sequence[NewJob], *, owner: str, actor: Actor, atomic: bool, rights: Rights | None = None
) -> Created:
    """Adds jobs, in order. A job that is there already counts as existing and is left as it is.

    Args:
        tx: the transaction.
        jobs: the jobs.
        owner: name of the user whose they are.
        actor: what adds them.
        atomic: all, or none.
        rights: of that user; None: of the owner of a site without others.

    Raises:
        NotAllCreated: `atomic`, and something was refused.
    """
    outcome = Created()
    existing, workdirs = probe(tx.sql, [job.job_id for job in jobs])
    owner_key = rights.user_key if rights is not None else OWNER_KEY
    named = {job.values["application"] for job in jobs if job.values.get("application")}
    foreign = rights.foreign_applications(tx, named) if rights is not None else {}
    applications = find_needs(tx, named)
    launches = bindable(tx, {job.values.get("queued_launch") for job in jobs})
    batch = {job.job_id for job in jobs}
    outside = {parent for job in jobs for parent in job.parents if parent not in batch}
    outside |= {parent for job in jobs for parent in job.parents if parent in existing}
    parent_rows = {row.job_id: row for row in tx.load(tx.keys_of(sorted(outside)).values())} if outside else {}
    first_key = tx.reserve_keys(len(jobs))
    fresh: dict[str, _Fresh] = {}
    rows: list[list[Any]] = []
    details: dict[tuple[str, ...], _Details] = {}
    links: list[tuple[int, int, int]] = []
    taken = _Workdirs(workdirs)
    for job in jobs:
        if job.job_id in existing or job.job_id in fresh:
            outcome.existing += 1
            continue
        values = job.values
        application: tuple[int | None, int] = (None, 0)
        launch: int | None = None
        try:
            parents = [_parent(parent, job, fresh, parent_rows) for parent in job.parents]
            if "application" in values:
                if values["application"] in foreign:
                    raise foreign[values["application"]]
                application = application_needs(tx, applications, values["application"])
            if "queued_launch" in values:
                launch = launch_to_bind(launches, values["queued_launch"])
            needs = _needs(values, application[1], bool(parents))
            if rights is not None and not rights.is_all:
                rights.check_parents([parent for parent in parents if isinstance(parent, Row)])
                if launch is not None:
                    rights.check_launch(tx, launch)
        except BalsamError as error:
            outcome.refusals.append(refused(job.job_id, job.index, error))
            continue
        made = _make(job, first_key + len(rows), needs, parents, links)
        fresh[job.job_id] = made
        made.state = _record_creation(tx, made, int(actor), owner_key)
        rows.append(_job_row(made, application[0], launch))
        given = tuple(values)
        if given not in details:
            details[given] = _Details(given)
        details[given].add(made, tx.now_us, owner, taken.path_for(job))
    outcome.created = len(rows)
    if atomic and outcome.refusals:
        raise NotAllCreated(outcome)
    _write(tx, rows, details.values(), links, fresh, owner_key)
    if rows:
        tx.runnable = True
    return outcome


def probe(sql: Sql, ids: list[str]) -> tuple[set[str], set[str]]:
    """Which of these ids exist, and the working directories of the jobs whose ids start with the same eight digits."""
    if sql.is_sqlite:
        text = """SELECT j.job_id, d.workdir FROM json_each(:ids) v JOIN job j
                  ON j.job_id >= substr(v.value, 1, 8) AND j.job_id < substr(v.value, 1, 8) || 'g'"""
    else:
        text = """SELECT j.job_id, d.workdir FROM unnest(:ids::text[]) v JOIN job j
                  ON j.job_id >= (left(v, 8) || '-0000-0000-0000-000000000000')::uuid
                  AND j.job_id <= (left(v, 8) || '-ffff-ffff-ffff-ffffffffffff')::uuid"""
    cousins = sql.run(f"{text} JOIN job_detail d ON d.key = j.key", ids=ids)
    return {row[0] for row in cousins}.intersection(ids), {row[1] for row in cousins}


def _parent(parent: str, job: NewJob, fresh: Mapping[str, _Fresh], rows: Mapping[str, Row]) -> _Fresh | Row:
    found = fresh.get(parent) or rows.get(parent)
    if found is None:
        what = (
            "is the job itself" if parent == job.job_id else "no such job (a parent must be added before its children)"
        )
        raise ValidationError(f"parents = {parent}: {what}", reason="INVALID_PARENTS", field="parents")
    return found


def _needs(values: Mapping[str, Any], needs: int, has_parents: bool) -> int:
    """What a job needs, beside what its application does."""
    for name in values.keys() & NEEDS_BY_FLAG.keys():
        needs |= bit_of_flag(name, values[name])
    if values.get("stage_out_url") and values.get("stage_out_files"):
        needs |= _STAGE_OUT
    return needs | _PARENTS if has_parents else needs


def _make(
    job: NewJob, key: int, needs: int, parents: Sequence[_Fresh | Row], links: list[tuple[int, int, int]]
) -> _Fresh:
    values = job.values
    unmet = 0
    failed: _Fresh | Row | None = None
    if parents and not needs & _NO_WAIT:
        failed = next((parent for parent in parents if has_failed(parent)), None)
    for parent in parents:
        parent.needs |= _CHILDREN
        met = is_met(parent)
        links.append((key, parent.key, int(met)))
        unmet += not met
    return _Fresh(
        job,
        key,
        _CREATED[0],
        needs,
        unmet,
        failed.key if failed else None,
        values.get("max_restarts", _DEFAULTS["max_restarts"]),
        parent_label(failed.label, failed.state) if failed else "",
    )


def _record_creation(tx: Tx, made: _Fresh, actor: int, owner_key: int) -> int:
    """The events of a job's creation, and of all that follows from it by rule; returns the state it is then in."""
    key, job_id, workflow = made.key, made.job.job_id, made.job.values.get("workflow", "")
    events = tx.outcome.events
    events.append(EventRecord(key, job_id, workflow, _CREATED, tx.now_us, actor, 0))
    is_marked = tx.by is not THE_OWNER or owner_key != OWNER_KEY
    if is_marked:
        tx.sign(events[-1], owner_key)
    move = tx.rules.next_move(made)
    if move is None:
        return made.state
    message = move.message.replace("{parent}", made.failed_label).replace("{reason}", "") if move.message else ""
    events.append(EventRecord(key, job_id, workflow, move.path, tx.now_us, _SCHEDULER, 0, message))
    if is_marked:
        tx.sign(events[-1], owner_key)
    return move.path[-1]


def _job_row(made: _Fresh, application: int | None, launch: int | None) -> list[Any]:
    get = made.job.values.get
    return [
        made.key,
        made.job.job_id,
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
        application,
        get("name", ""),
        get("workflow", ""),
        launch,
    ]


class _Details:
    """Rows of `job_detail`, of jobs for which the same fields are given."""

    def __init__(self, given: Iterable[str]) -> None:
        self._names = [name for name in given if name not in HOT_FIELDS]
        self.columns = ("key", "create_us", "owner", "workdir", *self._names)
        self.rows: list[list[Any]] = []

    def add(self, made: _Fresh, now_us: int, owner: str, workdir: str) -> None:
        values = made.job.values
        self.rows.append([made.key, now_us, owner, workdir, *[encode(name, values[name]) for name in self._names]])


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
    details: Iterable[_Details],
    links: list[tuple[int, int, int]],
    fresh: Mapping[str, _Fresh],
    owner_key: int,
) -> None:
    if links:
        needs = {made.key: made.needs for made in fresh.values()}
        for row in rows:
            row[3] = needs[row[0]]  # parents in the same batch have learned of their children meanwhile
    tx.counts.update([row[2] for row in rows])
    if owner_key == OWNER_KEY:
        tx.sql.insert("job", _JOB_COLUMNS, rows)
    else:
        tx.sql.insert("job", (*_JOB_COLUMNS, "owner_key"), [[*row, owner_key] for row in rows])
    for same in details:
        tx.sql.insert("job_detail", same.columns, same.rows)
    tx.sql.insert("edge", ("child", "parent", "met"), links)
