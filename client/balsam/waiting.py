"""How coroutines wait for the ends of jobs: told by the stream of all futures, without a thread for each."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from balsam.errors import BalsamError
from balsam.job import BalsamJob
from balsam.launcher.futures import FutureTask, fetched, nothing


class Ends:
    """The futures of jobs, as these end; an inbox in the running loop, to be iterated over inside of ``with``.

    Each time it gives all that have ended since the last. Leaving it leaves nothing behind: nobody else holds the
    futures that it made of jobs, and the stream forgets those that nobody holds.

    Args:
        given: jobs that are stored, or futures.
        timeout: how long to wait for all of them [s]; None: for ever.

    Raises:
        ValidationError: something is neither.
        TimeoutError: while iterated over: some have not ended.
        BalsamError: while iterated over: the job store cannot be reached, or refuses.
    """

    def __init__(self, given: Iterable[Any], timeout: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._give_up = None if timeout is None else self._loop.time() + timeout
        self._given: dict[FutureTask, bool] = {}
        for one in given:
            is_future = isinstance(one, FutureTask)
            self._given[one if is_future else FutureTask(one, nothing)] = is_future
        self._missing = len(self._given)
        self._arrived: deque[FutureTask | BalsamError] = deque()
        self._news = asyncio.Event()
        self._listening = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for future in self._given:
            future._forget(self)
        # A traceback may hold this object for long.
        self._given.clear()
        self._arrived.clear()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[FutureTask]:
        if not self._listening:
            await self._listen()
        if not self._missing:
            raise StopAsyncIteration
        try:
            async with asyncio.timeout_at(self._give_up):
                while not self._arrived:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise TimeoutError(f"{self._missing} jobs have not ended after {self._timeout} s") from None
        group = [self._next() for _ in range(len(self._arrived))]
        self._missing -= len(group)
        return group

    def _next(self) -> FutureTask:
        outcome = self._arrived.popleft()
        if isinstance(outcome, BalsamError):
            raise copy.copy(outcome)  # the same is told to all who wait, and each has a traceback of its own
        return outcome

    async def _listen(self) -> None:
        """Returns when what had ended before has arrived."""
        for stream in {future._enlist() for future in self._given}:
            synced = asyncio.Event()
            stream.when_synced(lambda synced=synced: self._in_loop(synced.set))  # type: ignore[misc]
            await synced.wait()
        for future in self._given:
            future._report_to(self)
        self._listening = True

    def put(self, outcome: FutureTask | BalsamError, /) -> None:
        """A job has ended, or nothing more will come; called in any thread."""
        self._arrived.append(outcome)
        self._in_loop(self._news.set)

    def _in_loop(self, callback: Callable[[], Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(callback)

    async def shown(self, futures: Iterable[FutureTask]) -> list[Any]:
        """What was given, for some of the futures: futures, and jobs as the store holds them now if they have ended."""
        group = list(futures)
        ended = [future._job for future in group if not self._given[future] and future._ending is not None]
        fresh = await read(ended)
        return [future if self._given[future] else fresh.get(future._job, future._job) for future in group]

    def all(self) -> list[FutureTask]:
        """Every future, in the order given."""
        return list(self._given)


class _Reader:
    """Reads jobs for all who wait in one loop: one query at a time, for whatever was asked for during the last.

    Of many jobs that end at once each has somebody who waits; a query for each would cost more than the jobs.
    """

    def __init__(self) -> None:
        self._wanted: list[BalsamJob] | None = None
        self._task: asyncio.Task[dict[BalsamJob, BalsamJob]] | None = None

    async def read(self, jobs: Sequence[BalsamJob]) -> dict[BalsamJob, BalsamJob]:
        """At least these jobs; shared with all who asked at the same time."""
        if self._wanted is None:
            self._wanted = list(jobs)
            self._task = asyncio.create_task(self._work(self._wanted, self._task))
        else:
            self._wanted += jobs
        assert self._task is not None
        return await asyncio.shield(self._task)

    async def _work(
        self, wanted: list[BalsamJob], last: asyncio.Task[dict[BalsamJob, BalsamJob]] | None
    ) -> dict[BalsamJob, BalsamJob]:
        try:
            if last is not None:
                await asyncio.wait([last])
            self._wanted = None
            return await asyncio.to_thread(fetched, wanted)
        finally:
            if self._wanted is wanted:
                self._wanted = None
            if self._task is asyncio.current_task():
                self._task = None


_readers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Reader] = weakref.WeakKeyDictionary()


async def read(jobs: Sequence[BalsamJob]) -> dict[BalsamJob, BalsamJob]:
    """Jobs as the store holds them now, by what is known of them, without those that it does not hold.

    Raises:
        BalsamError: the job store cannot be reached, or refuses.
    """
    if not jobs:
        return {}
    for loop in list(_readers):
        if loop.is_closed():
            _readers.pop(loop, None)
    found = await _readers.setdefault(asyncio.get_running_loop(), _Reader()).read(jobs)
    return {job: _own(found[job]) for job in jobs if job in found}


def _own(job: BalsamJob) -> BalsamJob:
    """A job like one that others have got, too, and may change."""
    return type(job)._from_values(copy.deepcopy(job._values))
