"""One write transaction: the jobs it loads and changes, the events it records, and what others are told after it.

Rows are loaded once, changed as plain objects, and written back set-wise: all rows with the same changes in one
statement. Before the commit the rules are applied to every row that was touched, children are released or failed, and
work is handed out, so that a move and all that follows from it are one synced commit.
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import compress

from balsam.errors import InvalidStateError
from balsam.states import END, RUNNABLE, WAITING, Actor, State, allowed, names
from balsam_jobstore import nodes
from balsam_jobstore.auditing import THE_OWNER, Audit, By
from balsam_jobstore.database import Sql, now_us
from balsam_jobstore.history import EVENT_COLUMNS, SIGNED_COLUMNS, EventRecord, event_values, signed_values
from balsam_jobstore.news import News
from balsam_jobstore.requests import Answer, Once
from balsam_jobstore.rows import COLUMNS, MUTABLE, OWNER_KEY, Row, has_failed, is_met, parent_label
from balsam_jobstore.rules import Needs, RuleSet
from balsam_jobstore.schema import STATE_COUNTS

_LOAD_CHUNK = 5000
_GRAPH = 0x6772617068  # an advisory lock is known by a number: "graph"
_END, _RUNNABLE, _WAITING = (frozenset(int(s) for s in group) for group in (END, RUNNABLE, WAITING))
_FINISHED, _FAILED, _KILLED = int(State.JOB_FINISHED), int(State.FAILED), int(State.USER_KILLED)
_AWAITING = int(State.AWAITING_PARENTS)
_RUN_TIMEOUT = int(State.RUN_TIMEOUT)
_RUN_ENDS = frozenset({_RUN_TIMEOUT, int(State.RUN_DONE), int(State.RUN_ERROR)})
_SERVICES = frozenset({int(Actor.SCHEDULER), int(Actor.JOBSTORE)})
_NO_WAIT, _PARENTS, _CHILDREN = int(Needs.NO_WAIT), int(Needs.PARENTS), int(Needs.CHILDREN)


RECALLED = -1
"""`tries` of a lease that was taken back though nobody has moved the job: what is done under it does not count."""


@dataclass(frozen=True)
class Position:
    """What a process must know of the database to go on from there."""

    sequence: int
    leases: Mapping[int, tuple[int, str, int]]
    """Key -> (fence, job id, key of the job's owner)."""


@dataclass
class Outcome:
    """What others are told once the transaction is durable."""

    events: list[EventRecord] = field(default_factory=list)
    stops: list[tuple[int, int, int]] = field(default_factory=list)
    """(session, key, fence): work that must be stopped."""
    granted: list[tuple[int, int, str, int]] = field(default_factory=list)
    """(key, fence, job id, key of the job's owner): leases that began."""
    released: list[int] = field(default_factory=list)
    """Keys whose leases ended."""
    after_commit: list[Callable[[], None]] = field(default_factory=list)
    """Called in the loop, in order."""
    position: Position | None = None
    """Where the database was, if this is the first transaction on a new connection."""
    look_again: bool = False
    """Another job store was looking at jobs that are due, and may leave them."""


class Tx:
    """A transaction under way."""

    def __init__(self, sql: Sql, rules: RuleSet) -> None:
        self.sql = sql
        self.rules = rules
        self.now_us = now_us()
        self.outcome = Outcome()
        self.rows: dict[int, Row] = {}
        self.runnable = False
        """Some job became runnable or due for a script: there is work to hand out."""
        self.answers: dict[tuple[str, int], tuple[Once, Answer]] = {}
        """(Request id, part) -> what is done in this transaction, and is to be remembered."""
        self.counts: Counter[int] = Counter()
        """State -> how many more jobs are in it than before."""
        self.recounts = False
        """How many jobs are in each state is not known any more: they are counted."""
        self.look = False
        """Another job store says that there may be work to hand out."""
        self.when_numbered: list[Callable[[int], None]] = []
        """Told the number of the last event that there is, when that is known: before the commit."""
        self.store = 1
        """The number of the job store whose transaction this is."""
        self.take_keys: Callable[[int], int] | None = None
        """Of one of several job stores: takes keys for new jobs beside the transaction."""
        self.news = News()
        """What the others are told of it."""
        self.by = THE_OWNER
        """In whose name the present command works."""
        self.audit = Audit()
        self._is_signed = False
        self._touched: dict[int, Row] = {}
        self._ended: list[Row] = []
        self._details: dict[int, dict[str, object]] = {}

    def read_position(self) -> None:
        """A new connection: what the last commit on the one before has done may not be known."""
        of_whom = "session IN (SELECT key FROM session WHERE store = :store)" if self.is_one_of_several else "1 = 1"
        text = f"SELECT key, fence, job_id, owner_key FROM job WHERE session IS NOT NULL AND {of_whom}"
        leased = self.sql.run(text, store=self.store)
        ((sequence,),) = self.sql.run("SELECT event_sequence FROM counter WHERE id = 1")
        self.outcome.position = Position(sequence, {key: tuple(lease) for key, *lease in leased})

    @property
    def is_one_of_several(self) -> bool:
        """Whether other job stores may write at the same time."""
        return self.take_keys is not None

    @contextmanager
    def acting(self, by: By) -> Iterator[None]:
        """Around what is done in somebody's name: its events bear that."""
        before, self.by = self.by, by
        try:
            yield
        finally:
            self.by = before

    def note(self, action: str, objects: Iterable[str], detail: str = "", count: int = 0) -> None:
        """Records a change that has no events; `count`: how many objects, where not all are named."""
        self.audit.note(self.by, action, objects, detail, count)

    def reserve_keys(self, count: int) -> int:
        """The first of so many keys for new jobs, one after the other."""
        if self.take_keys is not None:
            return self.take_keys(count)
        text = "UPDATE counter SET job_key = job_key + :n WHERE id = 1 RETURNING job_key"
        return int(self.sql.run(text, n=count)[0][0]) - count + 1

    def lock(self, table: str, condition: str, strength: str = "UPDATE", **parameters: object) -> None:
        """Has other job stores wait that would change (SHARE), or also use (UPDATE), rows that we rely on."""
        if self.is_one_of_several:
            self.sql.run(f"SELECT key FROM {table} WHERE {condition} ORDER BY key FOR {strength}", **parameters)

    def lock_graph(self) -> None:
        """Has other job stores wait that would close a cycle, too: two halves of one, each of which is none yet."""
        if self.is_one_of_several:
            self.sql.run(f"SELECT pg_advisory_xact_lock({_GRAPH})")

    # Rows

    def load(self, keys: Iterable[int]) -> list[Row]:
        """The rows with these keys, those that exist, in the order given."""
        wanted = list(keys)
        missing = [key for key in wanted if key not in self.rows]
        lock = "" if self.sql.is_sqlite else " ORDER BY key FOR UPDATE"
        for start in range(0, len(missing), _LOAD_CHUNK):
            chunk = missing[start : start + _LOAD_CHUNK]
            for values in self.sql.run(f"SELECT {COLUMNS} FROM job WHERE key = {{keys}}{lock}", keys=chunk):
                self.rows[values[0]] = Row(values)
        return [self.rows[key] for key in wanted if key in self.rows]

    def read(self, text: str, **parameters: object) -> list[Row]:
        """The rows that a query for `COLUMNS` finds, to look at: see `hold`."""
        return [Row(values) for values in self.sql.run(text, **parameters)]

    def hold(self, rows: Sequence[Row]) -> list[Row]:
        """Rows that were read, and locked where that is possible, for change."""
        return [self.rows.setdefault(row.key, row) for row in rows]

    def load_one(self, key: int) -> Row | None:
        """The row with this key."""
        return next(iter(self.load([key])), None)

    def keys_of(self, job_ids: Sequence[str]) -> dict[str, int]:
        """The keys of jobs, by id; ids that do not exist are missing."""
        if not job_ids:
            return {}
        array = "= {ids}" if self.sql.is_sqlite else "= ANY(:ids::uuid[])"
        found = self.sql.run(f"SELECT job_id, key FROM job WHERE job_id {array}", ids=list(job_ids))
        return dict(found)

    def change_detail(self, row: Row, changes: Mapping[str, object]) -> None:
        """Changes columns of `job_detail`."""
        self._details.setdefault(row.key, {}).update(changes)

    def unbind(self, launch: int) -> None:
        """Binds every job that is bound to a launch to none."""
        self.flush()
        text = "UPDATE job SET launch = NULL, revision = revision + 1 WHERE launch = :launch"
        self.sql.run(text, launch=launch)
        for row in self.rows.values():
            if row.launch == launch:
                row.launch = None
                row.before = row.snapshot()
                row.revision += 1
        self.runnable = True

    def is_changed(self, row: Row) -> bool:
        """Whether something about a job has changed that is not written yet."""
        return row.key in self._details or row.snapshot() != row.before

    def forget(self, row: Row) -> None:
        """The row is deleted."""
        self.counts[row.before[0]] -= 1
        self.rows.pop(row.key, None)
        self._touched.pop(row.key, None)
        self._details.pop(row.key, None)

    # Moves

    def touch(self, row: Row) -> None:
        """Something changed about the job that rules may depend on."""
        self._touched[row.key] = row

    def move(
        self,
        row: Row,
        path: Sequence[int],
        actor: Actor,
        message: str = "",
        *,
        time_us: int = 0,
        exit_code: int | None = None,
        node: str = "",
    ) -> None:
        """Moves a job through states that the caller has checked, with one event."""
        source = row.state
        row.state = path[-1]
        row.tries = 0
        if exit_code is not None:
            row.exit_code = exit_code
        if row.state in _RUN_ENDS:
            row.timeouts = row.timeouts + 1 if row.state == _RUN_TIMEOUT and not row.lost else 0
        self.record(row, path, actor, message, time_us=time_us, exit_code=exit_code, node=node)
        self._moved_from(row, source)
        self._touched[row.key] = row

    def checked_move(self, row: Row, target: int, actor: Actor, message: str = "") -> None:
        """Moves a job to a state if the graph allows it.

        Raises:
            InvalidStateError: it does not; names the states that it does allow.
        """
        if not allowed(actor, row.state, target):
            raise InvalidStateError(_not_allowed(row, target, actor), field="state")
        self.move(row, (target,), actor, message)

    def _moved_from(self, row: Row, source: int) -> None:
        """What leaving a state takes back."""
        if source in _END and row.state not in _END:
            row.restarts = 0
            row.timeouts = 0
            row.lost = 0
        if source not in _WAITING and row.state in _WAITING:
            self.look_at_parents(row)
        elif source == _FAILED:
            row.failed_parent = None
        if row.needs & _CHILDREN:
            if source == _FINISHED:
                self._hold_children(row)
            if source == _FAILED:
                self._revive_children(row)

    def look_at_parents(self, row: Row) -> None:
        """Counts anew which parents a job waits for, and sees whether one of them has failed."""
        row.unmet, row.failed_parent = 0, None
        if not row.needs & _PARENTS:
            return
        marks = dict(self.sql.run("SELECT parent, met FROM edge WHERE child = :child ORDER BY parent", child=row.key))
        for parent in self.load(marks):
            met = is_met(parent)
            if met != bool(marks[parent.key]):
                text = "UPDATE edge SET met = :met WHERE child = :child AND parent = :parent"
                self.sql.run(text, met=int(met), child=row.key, parent=parent.key)
            row.unmet += not met
            if row.failed_parent is None and not row.needs & _NO_WAIT and has_failed(parent):
                row.failed_parent = parent.key

    def record(
        self,
        row: Row,
        states: Sequence[int],
        actor: Actor,
        message: str = "",
        *,
        time_us: int = 0,
        exit_code: int | None = None,
        node: str = "",
    ) -> None:
        """Adds to the history of a job."""
        event = EventRecord(
            row.key,
            row.job_id,
            row.workflow,
            tuple(states),
            time_us or self.now_us,
            int(actor),
            row.attempt,
            message,
            exit_code,
            node=node,
        )
        self.outcome.events.append(event)
        self._is_signed |= node != ""
        if self.by is not THE_OWNER or row.owner_key != OWNER_KEY:
            self.sign(event, row.owner_key)

    def sign(self, event: EventRecord, owner_key: int) -> None:
        """Says in an event who did it, and whose job it is about."""
        event.owner_key = owner_key
        if int(event.actor) in _SERVICES:
            return
        by = self.by
        event.user_key = by.user_key if by.user_key != OWNER_KEY else None
        if by.run_key and by.run_key != event.key:
            event.run_key, event.run_id = by.run_key, by.run_id
        self._is_signed |= event.user_key is not None or event.run_key is not None

    def stop_work(self, row: Row) -> None:
        """Whoever works on the job must stop; the lease lasts until they say that they have.

        Nothing that was done before counts any more, neither a result that comes late.
        """
        if row.session is None:
            row.lost = 0
            return
        self.outcome.stops.append((row.session, row.key, row.fence))
        if row.tries > 0:
            row.tries = RECALLED

    def release(self, row: Row) -> None:
        """Nobody works on the job any more: what follows from its state may happen."""
        if row.session is not None:
            row.session = None
            row.tries = max(row.tries, 0)
            self.outcome.released.append(row.key)
            self._touched[row.key] = row

    # What follows

    def settle(self) -> None:
        """Applies the rules to all that was touched, releases and fails children, until nothing follows."""
        while self._touched or self._ended:
            touched, self._touched = list(self._touched.values()), {}
            for row in touched:
                self._settle_row(row)
            ended, self._ended = self._ended, []
            if ended:
                self._end(ended)

    def _settle_row(self, row: Row) -> None:
        if row.session is not None and row.state != _KILLED:
            return  # what follows waits until whoever holds it has ended
        if row.session is None:
            move = self.rules.next_move(row)
            if move is not None:
                self._follow(row, move.path, move.message)
        if row.state in _END:
            if row.needs & _CHILDREN:
                self._ended.append(row)
        else:
            self.runnable = True

    def _follow(self, row: Row, path: Sequence[int], message: str) -> None:
        """Applies a move by rule; joined to the event before where that is of this transaction and this job."""
        if "{" in message:
            message = message.replace("{parent}", self._parent_label(row)).replace("{reason}", self.reason(row))
        row.state = path[-1]
        row.tries = 0
        self.record(row, path, Actor.SCHEDULER, message)

    def _parent_label(self, row: Row) -> str:
        parent = self.load_one(row.failed_parent) if row.failed_parent is not None else None
        return parent_label(parent.label, parent.state) if parent else "of before"

    def reason(self, row: Row) -> str:
        """The message of a job's last event."""
        for event in reversed(self.outcome.events):
            if event.key == row.key and event.message:
                return event.message
        found = self.sql.run("SELECT message FROM event WHERE job = :key ORDER BY sequence DESC LIMIT 1", key=row.key)
        return str(found[0][0]) if found else ""

    def _end(self, rows: Sequence[Row]) -> None:
        """Jobs that have children ended, and nobody holds them."""
        finished = [row.key for row in rows if row.state == _FINISHED]
        if finished:
            met = self.sql.run(
                "UPDATE edge SET met = 1 WHERE parent = {parents} AND met = 0 RETURNING child", parents=finished
            )
            counts = Counter(child for (child,) in met)
            for child in self.load(counts):
                child.unmet -= counts[child.key]
                self._touched[child.key] = child
        for row in rows:
            if row.state in (_FAILED, _KILLED):
                self._fail_children(row)

    def children(self, key: int, *, met: int | None = None) -> list[Row]:
        """The jobs that depend on one; only those for which it has (not) finished, if `met` is given."""
        condition = "" if met is None else f" AND met = {int(met)}"
        return self.load(
            [child for (child,) in self.sql.run(f"SELECT child FROM edge WHERE parent = :key{condition}", key=key)]
        )

    def _fail_children(self, row: Row) -> None:
        for child in self.children(row.key, met=0):
            if child.state in _WAITING and not child.needs & _NO_WAIT and child.failed_parent is None:
                child.failed_parent = row.key
                self._touched[child.key] = child

    def _hold_children(self, row: Row) -> None:
        """A finished parent was reset: children that have not started wait for it again."""
        held = [child for child in self.children(row.key, met=1) if child.state in _WAITING]
        if held:
            text = "UPDATE edge SET met = 0 WHERE parent = :parent AND child = {children}"
            self.sql.run(text, parent=row.key, children=[child.key for child in held])
        for child in held:
            child.unmet += 1
            self._touched[child.key] = child
            if not child.needs & _NO_WAIT:
                self.stop_work(child)

    def _revive_children(self, row: Row) -> None:
        """A failed parent was reset: children that failed only because of it come back, and theirs."""
        reset = [row]
        while reset:
            parent = reset.pop()
            for child in self.children(parent.key):
                if child.failed_parent != parent.key:
                    continue
                self.look_at_parents(child)
                if child.state == _FAILED and child.failed_parent is None:
                    child.state = _AWAITING
                    child.tries = 0
                    self.record(child, (_AWAITING,), Actor.JOBSTORE, f"{parent.label} was reset")
                    reset.append(child)
                self._touched[child.key] = child

    # The end

    def flush(self, rows: Iterable[Row] | None = None) -> None:
        """Writes the changed rows, those with the same changes together.

        Args:
            rows: the only ones that have changed since the last time, where the caller knows that; None: look at all.
        """
        groups: dict[tuple[tuple[str, object], ...], list[int]] = {}
        for row in self.rows.values() if rows is None else rows:
            after = row.snapshot()
            if after != row.before or row.key in self._details:
                differ = tuple(map(operator.ne, row.before, after))
                changes = tuple(zip(compress(MUTABLE, differ), compress(after, differ), strict=True))
                groups.setdefault(changes, []).append(row.key)
                if differ[0]:  # the state
                    self.counts[row.before[0]] -= 1
                    self.counts[row.state] += 1
                row.before = after
                row.revision += 1
        for changes, keys in groups.items():
            assignments = "".join(f"{name} = :{name}, " for name, _ in changes)
            self.sql.run(
                f"UPDATE job SET {assignments}revision = revision + 1 WHERE key = {{keys}}",
                keys=keys,
                **dict(changes),
            )
        details, self._details = self._details, {}
        for key, columns in details.items():
            assignments = ", ".join(f"{name} = :{name}" for name in columns)
            self.sql.run(f"UPDATE job_detail SET {assignments} WHERE key = :key", key=key, **columns)

    def write_events(self) -> None:
        """Writes the history; its numbers are taken now, last of all, so that they rise in commit order."""
        events = self.outcome.events
        if not events and not self.when_numbered and not self.recounts:
            return
        changes = {state: number for state, number in self.counts.items() if number}
        if self.recounts:
            if not self.sql.is_sqlite:
                self.sql.run("SELECT id FROM counter FOR UPDATE")  # who has committed by now is counted
            counted: dict[int, int] = dict(self.sql.run("SELECT state, count(*) FROM job GROUP BY state"))
            changes = {state: counted.get(state, 0) for state in STATE_COUNTS}
        text = _count_text(tuple(sorted(changes)), anew=self.recounts)
        values = {STATE_COUNTS[state]: number for state, number in changes.items()}
        ((last,),) = self.sql.run(text, n=len(events), **values)
        for tell in self.when_numbered:
            tell(last)
        for sequence, event in enumerate(events, last - len(events) + 1):
            event.sequence = sequence
            event.record_us = event.record_us or self.now_us  # of another site: when it was recorded there
        if self._is_signed:
            signed = [event for event in events if event.is_signed]
            keys = nodes.keys_of(self.sql, [event.node for event in signed])
            self.sql.insert("event", SIGNED_COLUMNS, [signed_values(event, keys) for event in signed])
            events = [event for event in events if not event.is_signed]
        self.sql.insert("event", EVENT_COLUMNS, [event_values(event) for event in events])


@functools.lru_cache(maxsize=1000)
def _count_text(states: tuple[int, ...], *, anew: bool) -> str:
    names = [STATE_COUNTS[state] for state in states]
    counts = "".join([f", {name} = {'' if anew else f'{name} + '}:{name}" for name in names])
    return f"UPDATE counter SET event_sequence = event_sequence + :n{counts} WHERE id = 1 RETURNING event_sequence"


def _not_allowed(row: Row, target: int, actor: Actor) -> str:
    from balsam.states import TRANSITIONS

    possible = names(TRANSITIONS[actor][State(row.state)])
    here = State(row.state).name
    if not possible:
        return f"job {row.label} is {here} and stays so: nothing leaves {here}"
    return f"job {row.label} cannot go from {here} to {State(target).name}; from {here} it can go to {possible}"
