"""Leases: jobs are handed to sessions in the transaction that makes them due, and what comes back is fenced.

Credit and grants are touched by the writer's thread only (commands and `dispatch` run there), so nothing is locked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from balsam.states import RUNNABLE, Actor, State, path_is_allowed
from balsam_jobstore.amounts import ID_BYTES, Room, bytes_of_row
from balsam_jobstore.rows import COLUMNS, Row
from balsam_jobstore.rules import Needs
from balsam_jobstore.sessions import LAUNCHER, STEP_WORKER, Session, is_ours
from balsam_jobstore.tx import Tx
from balsam_jobstore.workflows import workflow_condition

_RUNNABLE_LIST = ", ".join(str(int(s)) for s in sorted(RUNNABLE))
_DUE = f"state IN ({_RUNNABLE_LIST}) AND session IS NULL AND (unmet = 0 OR (needs & {int(Needs.NO_WAIT)}) <> 0)"
_START_ORDER = "priority DESC, num_nodes DESC, wall_time_minutes DESC, key"
_OF_ALL = "launch IS NULL"
_OF_LAUNCH = "launch = :launch"
_OF_ALL_BUT_PRESCHEDULED = (
    "launch IS NULL AND NOT EXISTS (SELECT 1 FROM launch WHERE launch.key = :launch AND launch.prescheduled_only <> 0)"
)
_RUNNING = int(State.RUNNING)
_HANDLED = (State.RUN_ERROR, State.RUN_TIMEOUT)
_NOT_DONE = frozenset(map(int, _HANDLED))
_MOST_GRANTS = 500
_DETAILS_AT_ONCE = 64
"""A job may have some MiB of texts and parents: so many are read before what they hold is counted."""
_LEAST_REACH = 16
_EPSILON = 1e-9
_DAY_US = 86_400_000_000

DETAIL_COLUMNS = (
    "args",
    "environ_vars",
    "workdir",
    "user_workdir",
    "input_files",
    "stage_in_url",
    "stage_out_url",
    "stage_out_files",
    "threads_per_rank",
    "threads_per_core",
    "cpu_affinity",
    "mpi_flags",
    "gpus_per_rank",
    "post_error_handler",
    "post_timeout_handler",
)


@dataclass(slots=True)
class Grant:
    """A job that is handed out."""

    row_key: int
    fence: int
    job_id: str
    name: str
    workflow: str
    state: int
    attempt: int
    tries: int
    lost: int
    num_nodes: int
    ranks_per_node: int
    node_packing_count: int
    wall_time_minutes: int
    application: int | None
    message: str = ""
    """Why it is where it is, for who handles an error or a time-out."""
    detail: tuple[Any, ...] = ()
    parents: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NodeKind:
    """Nodes of a session that are alike: how many, and the cores and GPUs of each."""

    count: int
    cores: int
    gpus: int


@dataclass(slots=True)
class Credit:
    """What a session could take on."""

    nodes: float = 0.0
    jobs: int = 0
    largest: int = 0
    minutes: float | None = None
    serial_only: bool = False
    ranks_per_node: int = 0
    node_kinds: Sequence[NodeKind] = ()
    """None: its nodes have any number of cores and GPUs."""
    closing: bool = False
    """It starts nothing more. This and the next are for people; what is granted depends on the others."""
    closed_nodes: int = 0
    """So many of its nodes get nothing now."""
    quick_applications: tuple[str, ...] = ()
    """Their jobs fit into the minutes that are left, whatever they say."""


@dataclass(slots=True)
class Report:
    """What became of a leased job."""

    key: int
    fence: int
    passages: list[tuple[int, int]]
    exit_code: int | None
    message: str
    release: bool
    spared: bool = False
    """Where the run was lost: that uses up no restart."""
    node: str = ""
    """Where it failed; see `balsam.v1.Report`."""


@dataclass(slots=True)
class Delivery:
    """What goes to a stream after a commit."""

    grants: list[Grant] = field(default_factory=list)
    message: Any = None
    """The grants as its stream packs them; None: it could not."""
    size: int = 0
    """About how much the grants hold [bytes]."""
    stops: list[tuple[int, int]] = field(default_factory=list)
    grants_sent: int = 0
    drained: bool = False
    acknowledged: int = 0
    refused: list[tuple[int, int]] = field(default_factory=list)
    attached: bool = False


CLOSED = Delivery(grants_sent=-1)
"""The line ends here; its session may open another."""


class Stream:
    """The line to one session, as the writer's thread sees it.

    Args:
        session: whose line it is.
        states: for a scheduler: of jobs in these it takes leases.
        deliver: called in the loop after a commit, with what that has for the session.
        pack: makes a message of grants, or None; in the writer's thread, as the loop has all other callers to answer.
    """

    def __init__(
        self,
        session: Session,
        states: Iterable[int],
        deliver: Callable[[Delivery], None],
        pack: Callable[[Sequence[Grant]], Any] = list,
    ) -> None:
        self.session = session
        self.states = sorted(states)
        self.deliver = deliver
        self.pack = pack
        self.credit = Credit()
        self.sent = 0
        self.sends_output = False
        """It knows what to do when somebody wants to read an output."""
        self.asks_drained = False
        self.dry = False
        """The last look found nothing more: no need to look again until something becomes due."""
        self.reach = _LEAST_REACH
        """How many jobs it looks at: adapts to how many it takes."""
        self._unseen: deque[tuple[int, float]] = deque()

    @property
    def wants_more(self) -> bool:
        """It has credit, and there may be work for it."""
        return not self.dry and self.could_take

    @property
    def could_take(self) -> bool:
        """It has credit."""
        return self.jobs_left > 0 and self.nodes_left > _EPSILON

    def set_credit(self, credit: Credit, grants_seen: int) -> None:
        """Takes new credit; grants that the session had not seen when it gave it count against it."""
        while self._unseen and self._unseen[0][0] <= grants_seen:
            self._unseen.popleft()
        self.credit = credit

    @property
    def jobs_left(self) -> int:
        """How many jobs more it takes."""
        return self.credit.jobs - len(self._unseen)

    @property
    def nodes_left(self) -> float:
        """How many nodes' worth of jobs more it takes."""
        return self.credit.nodes - sum(share for _, share in self._unseen)

    def count(self, share: float) -> None:
        """A grant goes out."""
        self.sent += 1
        self._unseen.append((self.sent, share))

    def take_back(self, count: int) -> None:
        """The last grants did not go out."""
        for _ in range(count):
            self._unseen.pop()
        self.sent -= count
        self.dry = self.dry and not count


def share_of(num_nodes: int, ranks_per_node: int, node_packing_count: int) -> float:
    """How much of its launcher's nodes a job takes."""
    if num_nodes == 1 and ranks_per_node == 1:
        return 1.0 / node_packing_count
    return float(num_nodes)


def _share(stream: Stream, *shape: int) -> float:
    """What a job takes of a stream's credit in nodes; a scheduler's work takes none."""
    return share_of(*shape) if stream.session.kind == LAUNCHER else 0.0


def _shape(row: Row) -> tuple[int, int, int]:
    return row.num_nodes, row.ranks_per_node, row.node_packing_count


def dispatch(tx: Tx, streams: Sequence[Stream]) -> Callable[[], None]:
    """Hands out what is due to those with credit, and tells those who asked when nothing more can come.

    Returns what takes it back should the commit fail.
    """
    before = [(stream, stream.sent, stream.asks_drained) for stream in streams]

    def take_back() -> None:
        for stream, sent, asks_drained in before:
            stream.take_back(stream.sent - sent)
            stream.asks_drained = asks_drained

    try:
        for stream in streams:
            if tx.runnable or tx.look:
                stream.dry = False
            if stream.wants_more and is_ours(tx, stream.session):  # no other job store has ended it
                _hand_out(tx, stream)
        for stream in streams:
            if stream.asks_drained and _is_drained(tx, stream):
                stream.asks_drained = False
                _after_commit(tx, stream, Delivery(drained=True))
    except Exception:
        take_back()
        raise
    return take_back


def _hand_out(tx: Tx, stream: Stream) -> None:
    granted = 0
    # A large credit is served over several commits: the credit that answers the grants brings the next.
    while granted < _MOST_GRANTS and stream.wants_more and (rows := _due(tx, stream)):
        contents, room = _Contents(), Room()
        count = contents.add(tx, rows, room)
        grants = [_grant(tx, stream, row) for row in rows[:count]]
        granted += len(grants)
        tx.flush(rows[:count])
        contents.fill(grants)
        delivery = Delivery(grants, stream.pack(grants), room.used, grants_sent=stream.sent)
        _after_commit(tx, stream, delivery)
        if count < len(rows):  # so does one for large jobs
            stream.dry = False
            return


def _after_commit(tx: Tx, stream: Stream, delivery: Delivery) -> None:
    tx.outcome.after_commit.append(lambda: stream.deliver(delivery))


def _due(tx: Tx, stream: Stream) -> list[Row]:
    """Jobs for a stream, in the order in which they should start; as many as its credit holds, or a part of them."""
    limit = min(stream.jobs_left, stream.reach, _MOST_GRANTS)
    # Another job store may be handing out the same jobs: what it looks at now is not waited for.
    lock = "" if tx.sql.is_sqlite else " FOR UPDATE SKIP LOCKED"
    if stream.session.kind == LAUNCHER:
        condition, parameters = _fitting(tx, stream)
        conditions = [f"{pool}{condition}" for pool in _due_pools(stream)]
        text = _in_start_order(conditions, lock)
    else:
        states = ", ".join(map(str, stream.states)) or "0"
        conditions, parameters = [f"state IN ({states}) AND session IS NULL AND {_of_owners(stream)}"], {}
        text = f"SELECT {COLUMNS} FROM job WHERE {conditions[0]} ORDER BY key LIMIT :limit{lock}"
    found = tx.read(text, limit=limit, **parameters)
    wanted = [row for row in found if _needs_work(tx, row)] if stream.session.kind == STEP_WORKER else found
    left = stream.nodes_left + _EPSILON
    due: list[Row] = []
    for row in wanted:
        left -= _share(stream, *_shape(row))
        if left < 0:
            break  # nothing smaller goes before it: the nodes that it needs must become free
        due.append(row)
    stream.dry = len(due) == len(wanted) and len(found) < limit
    if stream.dry and tx.is_one_of_several and _count(tx, conditions, limit, parameters) > len(found):
        stream.dry = False
        tx.outcome.look_again = True
    # Rows that are looked at for nothing cost; so does looking again.
    stream.reach = min(2 * stream.reach, _MOST_GRANTS) if len(due) == limit else max(_LEAST_REACH, 2 * len(due))
    return tx.hold(due)


def _needs_work(tx: Tx, row: Row) -> bool:
    """Whether a job is to be worked on: rules are in force, and none moves it on. The scheduler asks for work when its
    rules are in force; who works beside it cannot know."""
    return bool(tx.rules.rules) and tx.rules.next_move(row) is None


def _count(tx: Tx, conditions: Sequence[str], limit: int, parameters: dict[str, Any]) -> int:
    """How many jobs there are under these conditions, those included that another job store is looking at."""
    some = "SELECT count(*) FROM (SELECT 1 FROM job WHERE {} LIMIT :limit) AS due"
    return sum(tx.sql.run(some.format(condition), limit=limit, **parameters)[0][0] for condition in conditions)


def _in_start_order(conditions: Sequence[str], lock: str) -> str:
    """The query for the first jobs under one of these conditions, each of which is read from an index of its own."""
    if len(conditions) == 1:
        return f"SELECT {COLUMNS} FROM job WHERE {conditions[0]} ORDER BY {_START_ORDER} LIMIT :limit{lock}"
    firsts = [f"SELECT * FROM ({_in_start_order([condition], lock)}) AS first" for condition in conditions]
    return f"SELECT {COLUMNS} FROM ({' UNION ALL '.join(firsts)}) AS due ORDER BY {_START_ORDER} LIMIT :limit"


def _pools(stream: Stream) -> list[str]:
    """Conditions of which one holds for each job that a launcher may take, by the launch that the job is bound to."""
    return [_OF_ALL] if stream.session.launch is None else [_OF_ALL_BUT_PRESCHEDULED, _OF_LAUNCH]


def _due_pools(stream: Stream) -> list[str]:
    """Conditions on jobs that a launcher may take and that are due, each with an order of its own in an index: jobs of
    users for whom it does not work are not looked at."""
    return [f"{_DUE} AND owner_key = {key} AND {pool}" for key in stream.session.owner_keys for pool in _pools(stream)]


def _of_owners(stream: Stream) -> str:
    """The condition that a job is of a user for whom a session works."""
    return f"owner_key IN ({', '.join(map(str, stream.session.owner_keys))})"


def _fitting(tx: Tx, stream: Stream) -> tuple[str, dict[str, Any]]:
    """The condition that a launcher could run a job, and its parameters."""
    credit = stream.credit
    condition, parameters = _wanted(tx, stream)
    if credit.serial_only:
        condition += " AND num_nodes = 1 AND ranks_per_node = 1"
    else:
        condition += " AND num_nodes <= :largest"
        parameters["largest"] = credit.largest
        if credit.ranks_per_node:
            condition += " AND ranks_per_node <= :ranks"
            parameters["ranks"] = credit.ranks_per_node
    if credit.minutes is not None:
        condition += f" AND (wall_time_minutes <= :minutes{_or_quick(tx, credit.quick_applications)})"
        parameters["minutes"] = credit.minutes
    return condition + _of_own(credit.node_kinds), parameters


def _or_quick(tx: Tx, names: Sequence[str]) -> str:
    """The rest of a condition: or the job is of one of these applications."""
    if not names:
        return ""
    found = tx.sql.run("SELECT key FROM application WHERE name = {names}", names=sorted(names))
    keys = ", ".join(str(int(key)) for (key,) in found)
    return f" OR application IN ({keys})" if keys else ""


def _of_own(kinds: Sequence[NodeKind]) -> str:
    """The condition that enough nodes of a launcher have the cores and GPUs that a job needs for itself.

    Only a job that needs some is looked up in the wide table. The amounts are those of the launcher's placement: ranks
    take whole GPUs, or so many neighbours share one as fit; threads_per_core threads find room on a core.
    """
    if not kinds:
        return ""
    able = " + ".join(f"CASE WHEN {_enough(kind)} THEN {kind.count} ELSE 0 END" for kind in kinds)
    text = f"""(needs & {int(Needs.GPUS | Needs.BOUND_CORES)}) = 0 OR EXISTS
        (SELECT 1 FROM job_detail AS detail WHERE detail.key = job.key AND job.num_nodes <= {able})"""
    none_has_gpus = not any(kind.gpus for kind in kinds)
    return f" AND ({text})" + (f" AND (needs & {int(Needs.GPUS)}) = 0" if none_has_gpus else "")


def _enough(kind: NodeKind) -> str:
    """The condition that a node of this kind has what a job needs. Divisions are of whole numbers: they round down. No
    product leaves the range of the larger kind of them, and a damaged 0 is no error."""
    cores = f"""(detail.cpu_affinity <> 2 OR CAST(job.ranks_per_node AS BIGINT) *
        ((CAST(detail.threads_per_rank AS BIGINT) + detail.threads_per_core - 1) / NULLIF(detail.threads_per_core, 0))
        <= {kind.cores})"""
    if not kind.gpus:
        return f"detail.gpus_per_rank = 0 AND {cores}"
    in_one = f"((CAST(job.ranks_per_node AS BIGINT) + {kind.gpus - 1}) / {kind.gpus})"
    return f"""(detail.gpus_per_rank <= {kind.gpus} / NULLIF(job.ranks_per_node, 0)
        OR (detail.gpus_per_rank < 1 AND detail.gpus_per_rank * {in_one} <= 1.000000001)) AND {cores}"""


def _wanted(tx: Tx, stream: Stream) -> tuple[str, dict[str, Any]]:
    """The condition that a job is in the filter of a launcher, and all parameters about the launcher itself."""
    text, parameters = workflow_condition(stream.session.workflow_filter, sqlite=tx.sql.is_sqlite)
    return f" AND {text}" if text else "", {**parameters, "launch": stream.session.launch}


def _grant(tx: Tx, stream: Stream, row: Row) -> Grant:
    session = stream.session
    row.session = session.key
    row.fence += 1
    row.tries += 1
    lost = row.lost
    if session.kind == LAUNCHER:
        row.attempt += 1
        row.tries = 1
        row.lost = 0
    stream.count(_share(stream, *_shape(row)))
    tx.outcome.granted.append((row.key, row.fence, row.job_id, row.owner_key))
    return grant_of(row, lost)


def grant_of(row: Row, lost: int = 0) -> Grant:
    """The grant of a leased row, without its detail."""
    return Grant(
        row.key,
        row.fence,
        row.job_id,
        row.name,
        row.workflow,
        row.state,
        row.attempt,
        row.tries,
        lost,
        row.num_nodes,
        row.ranks_per_node,
        row.node_packing_count,
        row.wall_time_minutes,
        row.application,
    )


class _Contents:
    """What runs of jobs need beyond their narrow rows."""

    def __init__(self) -> None:
        self._details: dict[int, tuple[Any, ...]] = {}
        self._parents: dict[int, list[str]] = {}
        self._reasons: dict[int, str] = {}

    def add(self, tx: Tx, rows: Sequence[Row], room: Room) -> int:
        """Reads those of the first rows for which there is room; gives how many that are."""
        for start in range(0, len(rows), _DETAILS_AT_ONCE):
            some = rows[start : start + _DETAILS_AT_ONCE]
            self._read(tx, some)
            for index, row in enumerate(some, start):
                if row.state in _HANDLED:
                    self._reasons[row.key] = tx.reason(row)
                if not room.takes(self._size(row.key)):
                    return index
        return len(rows)

    def _size(self, key: int) -> int:
        values = (self._reasons.get(key, ""), *self._details[key])
        return bytes_of_row(values) + ID_BYTES * len(self._parents.get(key, ()))

    def _read(self, tx: Tx, rows: Sequence[Row]) -> None:
        keys = [row.key for row in rows]
        columns = ", ".join(DETAIL_COLUMNS)
        for key, *values in tx.sql.run(f"SELECT key, {columns} FROM job_detail WHERE key = {{keys}}", keys=keys):
            self._details[key] = tuple(values)
        children = [row.key for row in rows if row.needs & Needs.PARENTS]
        if children:
            text = """SELECT edge.child, job.job_id FROM edge JOIN job ON job.key = edge.parent
                      WHERE edge.child = {keys} ORDER BY edge.parent"""
            for child, parent_id in tx.sql.run(text, keys=children):
                self._parents.setdefault(child, []).append(parent_id)

    def fill(self, grants: Sequence[Grant]) -> None:
        """Adds to grants what was read."""
        for grant in grants:
            grant.detail = self._details[grant.row_key]
            grant.parents = self._parents.get(grant.row_key, [])
            grant.message = self._reasons.get(grant.row_key, "")


def _is_drained(tx: Tx, stream: Stream) -> bool:
    """Whether nothing that the session could run exists, moves, or can come of what moves or runs."""
    fitting, fit_parameters = _fitting(tx, stream)
    due = [f"{pool}{fitting}" for pool in _due_pools(stream)]
    if tx.is_one_of_several:
        return _is_drained_at_once(tx, stream, due, fit_parameters)
    if any(_exists(tx, condition, fit_parameters) for condition in due):
        return False
    if not any(_exists(tx, condition, {}) for condition in _GOING_ON):
        return True
    wanted, parameters = _wanted(tx, stream)
    mine = f"{_of_owners(stream)} AND ({' OR '.join(_pools(stream))}){wanted}"
    if any(_exists(tx, f"{condition} AND {mine}", parameters) for condition in _GOING_ON):
        return False
    return not tx.sql.run(_below(mine), **parameters)


def _is_drained_at_once(tx: Tx, stream: Stream, due: Sequence[str], fit_parameters: dict[str, Any]) -> bool:
    """The same where other job stores move jobs meanwhile: one statement sees all as it is at one moment."""
    wanted, parameters = _wanted(tx, stream)
    parameters = {**fit_parameters, **parameters}
    anything = [f"EXISTS (SELECT 1 FROM job WHERE {condition})" for condition in (*due, *_GOING_ON)]
    if tx.sql.run(f"SELECT {' OR '.join(anything)}", **parameters) == [(False,)]:
        return True
    mine = f"{_of_owners(stream)} AND ({' OR '.join(_pools(stream))}){wanted}"
    conditions = [*due, *(f"{condition} AND {mine}" for condition in _GOING_ON)]
    some = [f"EXISTS (SELECT 1 FROM job WHERE {condition})" for condition in conditions]
    return tx.sql.run(f"SELECT {' OR '.join(some)} OR EXISTS ({_below(mine)})", **parameters) == [(False,)]


def _below(mine: str) -> str:
    """The query for one of mine that jobs which move or run, whosever they are, may release."""
    children = "SELECT edge.child FROM edge JOIN job ON job.key = edge.parent WHERE job."
    return f"""WITH RECURSIVE below(key) AS (
                 {" UNION ".join(children + condition for condition in _GOING_ON)}
                 UNION SELECT edge.child FROM edge JOIN below ON edge.parent = below.key)
               SELECT 1 FROM below JOIN job ON job.key = below.key
               WHERE job.state = {int(State.AWAITING_PARENTS)} AND {mine} LIMIT 1"""


_MOVING_LIST = ", ".join(
    str(int(s))
    for s in (
        State.CREATED,
        State.READY,
        State.STAGED_IN,
        State.RUN_DONE,
        State.POSTPROCESSED,
        State.RUN_ERROR,
        State.RUN_TIMEOUT,
    )
)
_GOING_ON = (f"state IN ({_MOVING_LIST})", "session IS NOT NULL")


def _exists(tx: Tx, condition: str, parameters: dict[str, Any]) -> bool:
    return bool(tx.sql.run(f"SELECT 1 FROM job WHERE {condition} LIMIT 1", **parameters))


def held_by_session(tx: Tx) -> dict[int, int]:
    """Key of a session -> how many jobs it holds."""
    return dict(tx.sql.run("SELECT session, count(*) FROM job WHERE session IS NOT NULL GROUP BY session"))


def holder(tx: Tx, job_ids: Sequence[str]) -> int | None:
    """Key of the session that holds the first of these jobs; None: none does, or there is no such job."""
    for key in tx.keys_of(job_ids).values():
        session: int | None = tx.sql.run("SELECT session FROM job WHERE key = :key", key=key)[0][0]
        return session
    return None


# What comes back


def apply_reports(tx: Tx, session: Session, reports: Sequence[Report]) -> list[tuple[int, int]]:
    """Applies reports, each as a whole; returns the leases that are not this session's any more."""
    tx.load({report.key for report in reports})
    refused = []
    with tx.acting(session.by):
        for report in reports:
            row = tx.rows.get(report.key)
            if row is None or row.session != session.key or row.fence != report.fence:
                refused.append((report.key, report.fence))
            else:
                _apply(tx, row, session, report)
    return refused


def recover_reports(
    tx: Tx, session: Session | None, reports: Sequence[Report], owner_key: int | None = None
) -> list[tuple[int, int]]:
    """Applies results whose launcher could not report them in time; returns the leases whose results are refused.

    A result counts while its lease lives, and after that until somebody else takes over its job, or moves or edits it.
    When its session has ended, nobody knows any more who held the lease: then a user reports on their own jobs only.

    Args:
        tx: the transaction.
        session: the one under which the jobs were leased; None: it has ended.
        reports: each holds the whole run, from RUNNING to its end.
        owner_key: the user who reports; None: somebody who may do everything.
    """
    tx.load({report.key for report in reports})
    refused = []
    for report in reports:
        row = tx.rows.get(report.key)
        if row is None or row.fence != report.fence:
            refused.append((report.key, report.fence))
        elif session is not None and row.session == session.key:
            _apply(tx, row, session, report)
        elif row.session is None and row.lost and row.state in RUNNABLE and _is_late_end(row, report, owner_key):
            _apply_late(tx, row, report)
        else:
            refused.append((report.key, report.fence))
    return refused


def _is_late_end(row: Row, report: Report, owner_key: int | None) -> bool:
    if owner_key is not None and row.owner_key != owner_key:
        return False
    states = tuple([state for state, _ in report.passages])
    return len(states) == 2 and path_is_allowed(Actor.LAUNCHER, row.state, states)


def _apply_late(tx: Tx, row: Row, report: Report) -> None:
    (begun, begin_us), (ended, end_us) = report.passages
    message = f"the result of attempt {row.attempt} came late"
    tx.move(row, (begun,), Actor.LAUNCHER, message, time_us=_plausible(begin_us, tx.now_us))
    row.lost = 0
    end_us = _plausible(end_us, tx.now_us)
    tx.move(row, (ended,), Actor.LAUNCHER, report.message, time_us=end_us, exit_code=report.exit_code, node=report.node)


def _apply(tx: Tx, row: Row, session: Session, report: Report) -> None:
    passages = report.passages
    if passages and passages[0][0] == row.state == _RUNNING:
        passages = passages[1:]  # it was announced before
    states = tuple([state for state, _ in passages])
    actor = session.actor
    # `tries` is 0 where somebody else has moved the job since it was granted: that move stands. A recalled one
    # has new values or a new parent, and starts anew.
    ours = row.tries > 0
    if states and ours and path_is_allowed(actor, row.state, states):
        tries = row.tries
        last = len(states) - 1
        for index, (state, time_us) in enumerate(passages):
            tx.move(
                row,
                (state,),
                actor,
                report.message if index == last else "",
                time_us=_plausible(time_us, tx.now_us),
                exit_code=report.exit_code if index == last else None,
                node=report.node if index == last and state in _NOT_DONE else "",
            )
        row.tries = tries
    if not report.release:
        return
    if session.kind == LAUNCHER:
        _give_back(tx, row, report)
    if ours and states and session.kind != LAUNCHER:
        row.tries = 0
    tx.release(row)


MOST_SPARED = 10
"""Up to this attempt of a job, a run that was lost may use up no restart: it may be the job that breaks its nodes."""


def _give_back(tx: Tx, row: Row, report: Report) -> None:
    """A launcher ends a lease: a run that never started was no attempt; one that was stopped under us goes on."""
    if row.state == _RUNNING:
        row.lost = 1
        row.restarts += not (report.spared and row.attempt <= MOST_SPARED)
        message = report.message or "the run was stopped"
        tx.move(row, (int(State.RUN_TIMEOUT),), Actor.LAUNCHER, message, node=report.node)
    elif row.tries != 0 and row.state in RUNNABLE and not report.passages:
        row.attempt -= 1


def _plausible(time_us: int, now_us: int) -> int:
    """A reporter's time; what cannot be true (in the future, or older than ten days) becomes now."""
    return time_us if now_us - 10 * _DAY_US < time_us <= now_us else now_us


def attach(tx: Tx, stream: Stream, held: Sequence[tuple[int, int]]) -> list[Delivery]:
    """A session attaches (again): it gets what it holds without knowing, and loses what it does not hold any more."""
    holding = dict(held)
    keys = [key for (key,) in tx.sql.run("SELECT key FROM job WHERE session = :session", session=stream.session.key)]
    rows = {row.key: row for row in tx.load(keys)}
    delivery = Delivery(attached=True)
    unknown: list[Row] = []
    for row in rows.values():
        if holding.get(row.key) == row.fence:
            if row.tries <= 0:
                delivery.stops.append((row.key, row.fence))
        elif row.tries > 0 and row.state != _RUNNING:
            unknown.append(row)
        else:
            if row.state == _RUNNING:
                row.lost = 1
                row.restarts += 1
                message = f"launcher lost: {stream.session.label} knows nothing of the run any more"
                tx.move(row, (int(State.RUN_TIMEOUT),), Actor.JOBSTORE, message)
            tx.release(row)
    delivery.stops += [(key, fence) for key, fence in held if key not in rows or rows[key].fence != fence]
    return [delivery, *_unknown(tx, stream, unknown)]


def _unknown(tx: Tx, stream: Stream, rows: Sequence[Row]) -> Iterator[Delivery]:
    """Grants that a session has not received, anew."""
    while rows:
        contents, room = _Contents(), Room()
        count = contents.add(tx, rows, room)
        grants = [grant_of(row, row.lost) for row in rows[:count]]
        for row in rows[:count]:
            stream.count(_share(stream, *_shape(row)))
        contents.fill(grants)
        yield Delivery(grants, stream.pack(grants), room.used, grants_sent=stream.sent)
        rows = rows[count:]
