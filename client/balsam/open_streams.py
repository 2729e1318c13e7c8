"""Streams that are open at a service: whose they are, so that they can be shown, and ended with the token that let
them in."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import grpc

if TYPE_CHECKING:
    from balsam.serving import Caller


@dataclass(frozen=True)
class OpenStream:
    """A stream that was let in."""

    caller: Caller
    method: str
    """For example `EventService/WatchEvents`."""
    peer: str
    """gRPC's name of the other end."""
    start_us: int
    """Microseconds since 1970."""


class OpenStreams:
    """Those of one service. Lives in the loop."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Task[Any], OpenStream] = {}
        self._of_runs: defaultdict[int, set[asyncio.Task[Any]]] = defaultdict(set)
        """Number of the job -> the streams of its run or script."""
        self._ended: WeakKeyDictionary[asyncio.Task[Any], str] = WeakKeyDictionary()
        """Those that were ended -> why."""

    @contextlib.contextmanager
    def one(self, caller: Caller, method: str, context: Any) -> Iterator[None]:
        """Around what serves a stream."""
        task = asyncio.current_task()
        assert task is not None
        name = method.rpartition(".")[2]
        self._open[task] = OpenStream(caller, name, context.peer(), time.time_ns() // 1000)
        if caller.job_key:
            self._of_runs[caller.job_key].add(task)
        try:
            yield
        finally:
            del self._open[task]
            if caller.job_key:
                self._forget(caller.job_key, task)

    def _forget(self, job_key: int, task: asyncio.Task[Any]) -> None:
        self._of_runs[job_key].discard(task)
        if not self._of_runs[job_key]:
            del self._of_runs[job_key]

    def all(self) -> list[OpenStream]:
        """Those that are open, oldest first."""
        return sorted(self._open.values(), key=lambda stream: stream.start_us)

    def end_of(self, user_key: int) -> None:
        """Ends those of a user, and of the runs of their jobs: the token was revoked."""
        for task, stream in list(self._open.items()):
            if stream.caller.user_key == user_key:
                self._end(task, "the token was revoked, or replaced by a new one")

    def end_of_run(self, job_key: int) -> None:
        """Ends those of the run or script of a job: it has ended, and its token with it."""
        for task in list(self._of_runs.get(job_key, ())):
            self._end(task, "the run has ended, and its token with it")

    def _end(self, task: asyncio.Task[Any], why: str) -> None:
        self._ended[task] = why
        task.cancel()

    async def refuse_ended(self, context: Any) -> None:
        """In a handler that is cancelled: tells the caller, if it is because the token is good no more."""
        task = asyncio.current_task()
        why = self._ended.pop(task, "") if task is not None else ""
        if why:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, why)
