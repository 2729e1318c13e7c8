"""Sessions: who is at work, and whether they still are. Only durations by this process's own clock decide."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from balsam.errors import NotFound
from balsam.states import Actor, State
from balsam_jobstore import past_sessions
from balsam_jobstore.auditing import THE_OWNER, By
from balsam_jobstore.rows import OWNER_KEY
from balsam_jobstore.tx import Tx

SCHEDULER, LAUNCHER, STEP_WORKER = 1, 2, 3
"""Kinds; numbers are those of ``balsam.v1.Session.Kind``."""
NAMES = {SCHEDULER: "scheduler", LAUNCHER: "launcher", STEP_WORKER: "step worker"}
GUARD_SECONDS = 3.0
"""A scheduler that died has taken its scripts with it after so long [s]."""

_COLUMNS = (
    "session_id",
    "request_id",
    "kind",
    "host",
    "pid",
    "owner",
    "version",
    "create_us",
    "nodes",
    "job_mode",
    "workflow_filter",
    "address",
    "launch",
    "owner_key",
    "trusted",
)


@dataclass
class Session:
    """A session, as the job store knows it."""

    session_id: str
    request_id: str
    kind: int
    host: str
    pid: int
    owner: str
    version: str
    create_us: int
    nodes: int
    job_mode: str
    workflow_filter: str
    address: str
    launch: int | None = None
    owner_key: int = OWNER_KEY
    """The user whose session it is; `owner` is the name."""
    trusted: str = ""
    """Keys of the users whose jobs it takes beside those of its own, separated by commas."""
    key: int = 0
    deadline: float = field(default=0.0, compare=False)
    """By `time.monotonic()`."""
    store: int = field(default=1, compare=False)
    """The job store that has it."""

    @property
    def actor(self) -> Actor:
        """Who moves jobs under this session."""
        return Actor.LAUNCHER if self.kind == LAUNCHER else Actor.SCHEDULER

    @functools.cached_property
    def owner_keys(self) -> tuple[int, ...]:
        """The users whose jobs it takes."""
        return (self.owner_key, *(int(key) for key in self.trusted.split(",") if key))

    @functools.cached_property
    def by(self) -> By:
        """In whose name it reports."""
        return THE_OWNER if self.owner_key == OWNER_KEY else By(self.owner_key)

    @property
    def is_expired(self) -> bool:
        """Whether it was not renewed in time."""
        return self.deadline <= time.monotonic()

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"{NAMES[self.kind]} on {self.host} (pid {self.pid})"


class Sessions:
    """The open sessions. Lives in the loop; rows are written by commands."""

    def __init__(self, lease_seconds: float) -> None:
        self.lease_seconds = lease_seconds
        self._by_id: dict[str, Session] = {}
        self._restored: list[Session] = []
        self._restored_at = 0.0

    def restore(self, rows: Sequence[Session]) -> None:
        """Takes up the sessions of the process before; each has one lease time to show itself, counted by `begin`."""
        self._restored, self._restored_at = list(rows), time.monotonic()
        for session in rows:
            self.adopt(session)

    def adopt(self, session: Session) -> None:
        """A session has been opened."""
        if session.kind == SCHEDULER:
            self.replace_schedulers(session.key, session.host)
        session.deadline = time.monotonic() + self.lease_seconds
        self._by_id[session.session_id] = session

    def replace_schedulers(self, key: int, host: str) -> None:
        """A scheduler has opened a session. There is one a site, by its lock: an older session's process is dead."""
        for other in self._by_id.values():
            if other.kind == SCHEDULER and other.host == host and other.key < key:
                other.deadline = min(other.deadline, time.monotonic() + GUARD_SECONDS)

    def find(self, session_id: str) -> Session | None:
        """A session, if it is open."""
        return self._by_id.get(session_id)

    def get(self, session_id: str) -> Session:
        """A session that is open.

        Raises:
            NotFound: it is not, or not any more.
        """
        session = self.find(session_id)
        if session is None:
            raise NotFound(f"session {session_id!r} has ended", reason="SESSION_ENDED")
        return session

    def by_request(self, request_id: str) -> Session | None:
        """The session that a request has opened."""
        return next((s for s in self._by_id.values() if s.request_id == request_id), None)

    def renew(self, session_id: str) -> None:
        """The session lives. Raises NotFound."""
        session = self.get(session_id)
        session.deadline = max(session.deadline, time.monotonic() + self.lease_seconds)

    def begin(self) -> None:
        """From now on renewals arrive: the time of those that were taken up counts from here on."""
        late = time.monotonic() - self._restored_at
        for session in self._restored:
            session.deadline += late
        self._restored.clear()

    def forgive(self, seconds: float) -> None:
        """Puts off every deadline by a time in which no session could be renewed [s]."""
        for session in self._by_id.values():
            session.deadline += seconds

    def remove(self, session: Session) -> None:
        """The session has ended."""
        self._by_id.pop(session.session_id, None)

    def forget(self, key: int) -> None:
        """Another job store has ended it."""
        for session in [session for session in self._by_id.values() if session.key == key]:
            self.remove(session)

    def all(self) -> list[Session]:
        """The open sessions, oldest first."""
        return sorted(self._by_id.values(), key=lambda s: s.key)

    def expired(self) -> list[Session]:
        """Sessions that were not renewed in time."""
        return [s for s in self._by_id.values() if s.is_expired]

    def seconds_to_next(self) -> float:
        """How long nothing can expire [s]."""
        now = time.monotonic()
        return max(0.2, min([s.deadline - now for s in self._by_id.values()], default=self.lease_seconds))


def insert(tx: Tx, session: Session) -> Session:
    """Writes a new session; gives the one that the same request has opened before, if there is one."""
    known = next((other for other in load(tx) if other.request_id == session.request_id), None)
    if known is not None:
        return known
    session.store = tx.store
    values = [*(getattr(session, name) for name in _COLUMNS), session.store]
    tx.sql.insert("session", (*_COLUMNS, "store"), [values])
    (session.key,) = tx.sql.run("SELECT key FROM session WHERE session_id = :id", id=session.session_id)[0]
    return session


def load(tx: Tx, condition: str = "1 = 1", **parameters: object) -> list[Session]:
    """The sessions in the database for which a condition holds."""
    rows = tx.sql.run(f"SELECT {', '.join(_COLUMNS)}, key, store FROM session WHERE {condition}", **parameters)
    found = []
    for *values, store in rows:
        found.append(Session(*values))
        found[-1].store = store
    return found


def load_all(tx: Tx) -> list[Session]:
    """All sessions, for the only job store: what others have left belongs to it."""
    tx.sql.run("UPDATE session SET store = :store, rules = '' WHERE store <> :store OR rules <> ''", store=tx.store)
    return load(tx)


def is_ours(tx: Tx, session: Session) -> bool:
    """Whether a session is in the database, and its job store the one that it is said to be; it stays so until the
    commit."""
    if not tx.is_one_of_several:
        return True
    found = tx.sql.run("SELECT store FROM session WHERE key = :key FOR UPDATE", key=session.key)
    return found == [(session.store,)]


def new_id() -> str:
    """A session's id: random, so that nobody meets it again."""
    return str(uuid.uuid4())


def end(tx: Tx, session: Session, reason: str) -> int:
    """Ends a session and gives back what it holds; returns how many jobs. Safe to repeat.

    One that another job store has ended or taken up is left alone.
    """
    if not is_ours(tx, session):
        return 0
    tx.news.ended.append(session.key)
    tx.news.rules |= session.kind == SCHEDULER
    keys = [key for (key,) in tx.sql.run("SELECT key FROM job WHERE session = :session", session=session.key)]
    for row in tx.load(keys):
        if session.kind == LAUNCHER and row.tries > 0:
            row.lost = 1  # until somebody takes it over, its result may still come
        if row.state == State.RUNNING:
            row.lost = 1
            row.restarts += 1
            tx.move(row, (int(State.RUN_TIMEOUT),), Actor.JOBSTORE, f"launcher lost: {session.label} {reason}")
        tx.release(row)
    if session.kind == LAUNCHER:
        past_sessions.keep(tx, session.key)
    tx.sql.run("DELETE FROM session WHERE key = :key", key=session.key)
    return len(keys)
