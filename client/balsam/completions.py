"""The ends of jobs, pushed by the job store: one thread for a process and site, however many wait.

Nothing is lost: the thread subscribes first and reads the states of the jobs then; after an interruption it resumes at
the sequence that it saw last.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from balsam import stores
from balsam.errors import BalsamError, Unavailable
from balsam.forks import gate
from balsam.query import Test
from balsam.rpc import RETRY_SECONDS, unpack_error
from balsam.states import END, State

if TYPE_CHECKING:
    from balsam.client import Client

END_NAMES = [state.name for state in sorted(END)]
LOST_SECONDS = 60.0
"""How long the job store may be away, once it was there, before those who wait are told."""
_CHUNK = 1000
_FIRST_DELAY = 0.05


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended: its state, or ``""`` if it does not exist (any more); and why."""

    state: str
    message: str


class Listener(Protocol):
    """Wants to know how a job ends."""

    def listens_to(self) -> str:
        """Id of the job."""

    def ended(self, ending: Ending) -> None:
        """The job has ended; called once, in the thread of the stream."""

    def lost(self, error: BalsamError) -> None:
        """Nothing more will come; called in the thread of the stream."""


_Reference = tuple[str, "weakref.ref[Any]"]


class Completions:
    """Tells listeners how their jobs end. Made by `completions_of`."""

    def __init__(self, client: Client) -> None:
        self.pid = os.getpid()
        self._client = client
        self._changed = threading.Condition()
        self._new: list[_Reference] = []
        self._listeners: dict[str, list[_Reference]] = {}
        # Listeners that were added, that have been told what was known, and that were told of an error, ever.
        self._added = self._settled = self._failed = 0
        self._error: BalsamError | None = None
        # Whom to call, once so many listeners have been told what was known.
        self._callbacks: list[tuple[int, Callable[[], None]]] = []
        self._unread: set[str] = set()
        self._sequence: int | None = None
        self._stream: Any = None
        self._answered = False
        self._thread: threading.Thread | None = None
        self._closing = False

    def add(self, listener: Listener) -> None:
        """Takes a listener in; it is told of nothing before the next `sync`. Contacts nothing."""
        with self._changed:
            self._new.append((listener.listens_to(), weakref.ref(listener)))
            self._added += 1

    def sync(self) -> None:
        """Returns once every listener has been told what was known when this was called.

        Raises:
            BalsamError: the job store cannot be reached, or refuses.
        """
        with self._changed:
            upto = self._added
            if self._settled < upto:
                self._wake()
                self._changed.wait_for(lambda: self._settled >= upto or self._closing)
            if self._error is not None and self._settled_by_error(upto):
                raise self._error

    def when_synced(self, callback: Callable[[], None]) -> None:
        """As `sync`, without waiting: calls back when that would return or raise, at once or in another thread."""
        with self._changed:
            upto = self._added
            if self._settled < upto:
                self._callbacks.append((upto, callback))
                self._wake()
                return
        callback()

    def _wake(self) -> None:
        """Has the thread take the new listeners in."""
        if self._thread is None:
            self._start()
        # A stream that has not answered yet looks for new listeners when it does. If each of them interrupted it,
        # many that come one by one would keep it from ever answering.
        if self._answered:
            self._interrupt()
        self._changed.notify_all()

    def _settled_by_error(self, upto: int) -> bool:
        return self._failed >= upto

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="balsam-completions", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._closing = True
            self._interrupt()
        if self._thread is not None and self.pid == os.getpid():
            self._thread.join(timeout=2)

    def _interrupt(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
        self._changed.notify_all()

    def _cancel(self) -> None:
        """The process is about to fork: the stream is opened again after that."""
        with self._changed:
            self._interrupt()

    # In the thread

    def _run(self) -> None:
        reached, delay = time.monotonic(), _FIRST_DELAY
        while self._has_work():
            try:
                for _ in self._follow():
                    reached, delay = time.monotonic(), _FIRST_DELAY
            except BalsamError as error:
                if not isinstance(error, Unavailable) or time.monotonic() - reached > self._patience():
                    self._give_up(error)
                    reached, delay = time.monotonic(), _FIRST_DELAY
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, timeout=delay)
                delay = min(delay * 2, 1.0)

    def _has_work(self) -> bool:
        """Waits until there is something to listen to; False: the end."""
        with self._changed:
            if not self._listeners:
                self._sequence = None
            self._changed.wait_for(lambda: self._closing or self._new or self._listeners)
            return not self._closing

    def _patience(self) -> float:
        if self._sequence is not None:
            return LOST_SECONDS
        return RETRY_SECONDS if stores.expected(self._client.site) else 0.0

    def _give_up(self, error: BalsamError) -> None:
        with self._changed:
            references = [*self._new, *(pair for pairs in self._listeners.values() for pair in pairs)]
            self._new, self._listeners, self._unread, self._sequence = [], {}, set(), None
            self._error, self._failed = error, self._added
            upto = self._added
        for listener in _alive(references):
            listener.lost(error)
        self._settle(upto)

    def _follow(self) -> Iterator[None]:
        """Listens until there are new listeners, or nobody is left; yields when something has arrived."""
        with gate.passage(self._cancel):
            yield from self._listen()

    def _listen(self) -> Iterator[None]:
        upto = self._take_in()
        if not self._listeners:
            self._settle(upto)
            return
        stream = self._client.events.watch(list(self._listeners), END_NAMES, self._sequence)
        try:
            with self._changed:
                self._stream = stream
            if gate.closing:
                stream.cancel()
            for answer in _translated(stream):
                self._sequence = answer.sequence
                for event in answer.events:
                    self._tell(event.job_id, _ending(event))
                self._read_states()
                self._settle(upto)
                yield
                with self._changed:
                    self._answered = True
                if self._new or not self._listeners or self._closing:
                    return
        finally:
            with self._changed:
                self._stream, self._answered = None, False
            stream.cancel()

    def _take_in(self) -> int:
        """Makes the new listeners listeners, and forgets those that nobody holds; returns how many there ever were."""
        with self._changed:
            for job_id, reference in self._new:
                self._listeners.setdefault(job_id, []).append((job_id, reference))
                self._unread.add(job_id)
            self._new = []
            self._listeners = {job_id: pairs for job_id, pairs in self._listeners.items() if _alive(pairs)}
            self._unread &= self._listeners.keys()
            return self._added

    def _settle(self, upto: int) -> None:
        with self._changed:
            self._settled = max(self._settled, upto)
            self._changed.notify_all()
            called = [callback for number, callback in self._callbacks if number <= self._settled]
            self._callbacks = [pair for pair in self._callbacks if pair[0] > self._settled]
        for callback in called:
            callback()

    def _read_states(self) -> None:
        """Tells of the jobs that had ended before the stream began, or do not exist."""
        ids = list(self._unread)
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            where = Test("job_id", (), "IN", tuple(chunk))
            pages = self._client.jobs.pages(where, (), _CHUNK, ["job_id", "state", "message"])
            found = {row["job_id"]: row for page in pages for row in page}
            for job_id in chunk:
                row = found.get(job_id)
                if row is None:
                    self._tell(job_id, Ending("", "the job does not exist"))
                elif row.get("state") in END_NAMES:
                    self._tell(job_id, Ending(row["state"], row.get("message", "")))
            self._unread.difference_update(chunk)

    def _tell(self, job_id: str, ending: Ending) -> None:
        with self._changed:
            pairs = self._listeners.pop(job_id, [])
        for listener in _alive(pairs):
            listener.ended(ending)


def _alive(references: Iterable[_Reference]) -> list[Any]:
    listeners = (reference() for _, reference in references)
    return [listener for listener in listeners if listener is not None]


def _ending(event: Any) -> Ending:
    if event.deleted:
        return Ending("", "the job was deleted")
    last = next(state for state in reversed(event.states) if state in END)
    return Ending(State(last).name, event.message)


def _translated(stream: Any) -> Iterator[Any]:
    """The answers of a stream until it is cancelled. Raises what the failure means."""
    import grpc

    try:
        yield from stream
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.CANCELLED:
            return
        raise unpack_error(error) from None
    raise Unavailable("the job store ended the stream of events")


_made: dict[str, Completions] = {}
_lock = threading.Lock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def completions_of(client: Client) -> Completions:
    """The one of this process and site."""
    key = str(client.site.path)
    with _lock:
        known = _made.get(key)
        if known is None or known.pid != os.getpid():
            known = _made[key] = Completions(client)
        return known
