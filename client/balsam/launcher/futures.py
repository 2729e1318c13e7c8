"""Futures of jobs: be told when they end, without polling.

    task = FutureTask(job, on_done, on_fail)
    result = task.result(timeout=600)

All futures of a process share one stream of events from the job store.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from balsam.errors import BalsamError, NotFound, TaskFailed, ValidationError
from balsam.job import BalsamJob

if TYPE_CHECKING:
    from balsam.completions import Completions, Ending

__all__ = ["FutureTask", "TaskFailed", "WaitResult", "as_completed", "wait"]

F = TypeVar("F")

_STATUS = {"JOB_FINISHED": "done", "FAILED": "failed", "USER_KILLED": "cancelled", "": "failed"}


class WaitResult(NamedTuple, Generic[F]):
    """Futures by what became of their jobs."""

    active: list[F]
    done: list[F]
    failed: list[F]
    cancelled: list[F]


class Inbox(Protocol):
    """Where a future puts itself when its job has ended, or the error that keeps it from knowing."""

    def put(self, outcome: FutureTask | BalsamError, /) -> None:
        """Called once by each future, in any thread."""


class FutureTask:
    """The end of a job that is stored, and what to do then.

    Args:
        job: the job.
        done_callback: called as ``done_callback(job, *args, **kwargs)`` by `result` when the job has finished.
        fail_callback: the same for a job that failed; without one `result` raises TaskFailed.
    """

    def __init__(
        self,
        job: BalsamJob,
        done_callback: Callable[..., Any],
        fail_callback: Callable[..., Any] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if not isinstance(job, BalsamJob) or not job._stored:
            raise ValidationError(f"{job!r} is not a job that is stored; save() it first")
        if not callable(done_callback):
            raise ValidationError(f"done_callback = {done_callback!r}: cannot be called")
        self._job = job
        self._on_done = done_callback
        self._on_fail = fail_callback
        self._args = args
        self._kwargs = kwargs
        # Garbage collection ends coroutines that wait, at any place, and so they may forget us while this is held.
        self._lock = threading.RLock()
        self._waiting: list[Inbox] = []
        self._ending: Ending | None = None
        self._result: Any = None
        self._called_back = False
        self._completions: Completions | None = None
        self._loss: BalsamError | None = None
        self._enlist()

    def __repr__(self) -> str:
        return f"<FutureTask {self._job.cute_id} {self._known_status()}>"

    # What the stream tells

    def listens_to(self) -> str:
        """Id of the job."""
        return self._job._identity()

    def ended(self, ending: Ending) -> None:
        """The job has ended; called by the stream."""
        with self._lock:
            if self._ending is None:
                self._ending = ending
            waiting, self._waiting = self._waiting, []
        for inbox in waiting:
            inbox.put(self)

    def lost(self, error: BalsamError) -> None:
        """The stream is lost; called by it."""
        with self._lock:
            self._completions, self._loss = None, error
            waiting, self._waiting = self._waiting, []
        for inbox in waiting:
            inbox.put(error)

    def _enlist(self) -> Completions:
        """Has the stream of this process tell us."""
        from balsam.completions import completions_of

        current = completions_of(self._job._client())
        with self._lock:
            known, self._completions, self._loss = self._completions, current, None
        if known is not current and self._ending is None:
            current.add(self)
        return current

    def _report_to(self, inbox: Inbox) -> None:
        with self._lock:
            if self._ending is None and self._loss is None:
                self._waiting.append(inbox)
                return
        inbox.put(self if self._ending is not None else self._loss or self)

    def _forget(self, inbox: Inbox) -> None:
        with self._lock:
            self._waiting = [other for other in self._waiting if other is not inbox]

    # The state

    def _known_status(self) -> str:
        return "active" if self._ending is None else _STATUS[self._ending.state]

    def _status(self) -> str:
        if self._ending is None:
            self._enlist().sync()
        return self._known_status()

    @property
    def active(self) -> bool:
        """The job has not ended."""
        return self._status() == "active"

    @property
    def done(self) -> bool:
        """The job has finished."""
        return self._status() == "done"

    @property
    def failed(self) -> bool:
        """The job has failed, or was deleted."""
        return self._status() == "failed"

    @property
    def cancelled(self) -> bool:
        """The job was killed."""
        return self._status() == "cancelled"

    def cancel(self) -> None:
        """Kills the job, and all that depend on it; one that has ended is left as it is."""
        from balsam.completions import END_NAMES, Ending

        calls = self._job._calls()
        calls.kill([self._job._identity()], recursive=True).check("killed")
        state = calls.get(self._job._identity()).get("state", "")
        if state in END_NAMES:
            self.ended(Ending(state, ""))

    def result(self, timeout: float | None = None) -> Any:
        """What the callback returns; it is called once, here. None for a job that was killed.

        Args:
            timeout: how long to wait for the end of the job [s]; None: for ever.

        Raises:
            TimeoutError: the job has not ended.
            TaskFailed: it failed, and there is no `fail_callback`.
        """
        if not self._called_back:
            for _ in _completed([self], timeout):
                pass
            self._call_back()
        return self._result

    def _call_back(self) -> None:
        assert self._ending is not None
        status = self._known_status()
        if status == "cancelled":
            return
        callback = self._on_done if status == "done" else self._on_fail
        if callback is None:
            why = f": {self._ending.message}" if self._ending.message else ""
            raise TaskFailed(f"job {self._job.cute_id} failed{why} (there is no fail_callback)")
        self._result = callback(self._refreshed(), *self._args, **self._kwargs)
        self._called_back = True

    def _refreshed(self) -> BalsamJob:
        try:
            self._job = type(self._job).objects.get(pk=self._job.pk)
        except NotFound:
            pass  # deleted: what we know of it remains
        return self._job


def _completed(futures: Iterable[FutureTask], timeout: float | None) -> Iterator[list[FutureTask]]:
    """The futures, as their jobs end: each time all that have ended since the last."""
    pending = list(dict.fromkeys(futures))
    outcomes: queue.SimpleQueue[FutureTask | BalsamError] = queue.SimpleQueue()
    give_up = None if timeout is None else time.monotonic() + timeout
    try:
        for stream in {future._enlist() for future in pending}:
            stream.sync()
        for future in pending:
            future._report_to(outcomes)
        missing = len(pending)
        while missing:
            group = [_next(outcomes, give_up, missing, timeout)]
            while not outcomes.empty():
                group.append(_next(outcomes, give_up, missing, timeout))
            missing -= len(group)
            yield group
    finally:
        for future in pending:
            future._forget(outcomes)


def _next(
    outcomes: queue.SimpleQueue[FutureTask | BalsamError], give_up: float | None, missing: int, timeout: float | None
) -> FutureTask:
    left = None if give_up is None else max(give_up - time.monotonic(), 0)
    try:
        outcome = outcomes.get(timeout=left)
    except queue.Empty:
        raise TimeoutError(f"{missing} jobs have not ended after {timeout} s") from None
    if isinstance(outcome, BalsamError):
        raise outcome
    return outcome


def wait(
    futures: Iterable[FutureTask],
    timeout: float | None = None,
    return_when: str = "ANY_COMPLETED",
    poll_period: float | None = None,
) -> WaitResult[FutureTask]:
    """Waits until one of the jobs has ended, or all, and says what became of each.

    Args:
        timeout: how long to wait [s]; None: for ever.
        return_when: ``"ANY_COMPLETED"`` or ``"ALL_COMPLETED"``.
        poll_period: accepted for scripts of Balsam 0.x; there is no polling.

    Raises:
        TimeoutError: they have not.
    """
    first_will_do = is_any(return_when)
    every = list(futures)
    for _ in _completed(every, timeout):
        if first_will_do:
            break
    result = WaitResult[FutureTask]([], [], [], [])
    for future in every:
        getattr(result, future._known_status()).append(future)
    return result


def is_any(return_when: str) -> bool:
    """Whether the end of any job will do, and not only those of all. Raises ValidationError."""
    wanted = return_when.strip()
    if wanted not in ("ANY_COMPLETED", "ALL_COMPLETED"):
        raise ValidationError(f"return_when = {return_when!r}: must be ANY_COMPLETED or ALL_COMPLETED")
    return wanted == "ANY_COMPLETED"


def as_completed(jobs: Iterable[Any], timeout: float | None = None) -> Iterator[Any]:
    """The jobs or futures, as they end; of jobs as the store then holds them.

    Args:
        jobs: jobs that are stored, or futures.
        timeout: how long to wait for all of them [s]; None: for ever.

    Raises:
        TimeoutError: some have not ended.
    """
    given: dict[FutureTask, bool] = {}
    for job in jobs:
        is_future = isinstance(job, FutureTask)
        given[job if is_future else FutureTask(job, nothing)] = is_future
    for group in _completed(given, timeout):
        # One query for all that ended together: many short jobs would cost more to look at than to run.
        fresh = fetched([future._job for future in group if not given[future]])
        for future in group:
            yield future if given[future] else fresh.get(future._job, future._job)


def fetched(jobs: Sequence[BalsamJob]) -> dict[BalsamJob, BalsamJob]:
    """Jobs as the store holds them now, by what we know of them, without those that it does not hold."""
    found: dict[BalsamJob, BalsamJob] = {}
    for kind in {type(job) for job in jobs}:
        ids = [job.pk for job in jobs if type(job) is kind]
        found |= {job: job for job in kind.objects.filter(pk__in=ids)}
    return found


def nothing(job: BalsamJob) -> None:
    """The callback of a future that has none."""
