"""Streams that are open at a service: whose they are, so that they can be shown, and ended when a token is revoked."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
        self._of_runs: dict[int, set[asyncio.Task[Any]]] = {}
        """The number of a job -> those that its run has opened."""
        self._revoked: set[asyncio.Task[Any]] = set()

    @contextlib.contextmanager
    def one(self, caller: Caller, method: str, context: Any) -> Iterator[None]:
        """Around what serves a stream."""
        task = asyncio.current_task()
        assert task is not None
        name = method.rpartition(".")[2]
        self._open[task] = OpenStream(caller, name, context.peer(), time.time_ns() // 1000)
        if caller.job_key:
            self._of_runs.setdefault(caller.job_key, set()).add(task)
        try:
            yield
        finally:
            del self._open[task]
            if caller.job_key:
                self._of_runs[caller.job_key].discard(task)
                if not self._of_runs[caller.job_key]:
                    del self._of_runs[caller.job_key]

    def all(self) -> list[OpenStream]:
        """Those that are open, oldest first."""
        return sorted(self._open.values(), key=lambda stream: stream.start_us)

    def end_of(self, user_key: int) -> None:
        """Ends those of a user, and of the runs of their jobs."""
        for task, stream in list(self._open.items()):
            if stream.caller.user_key == user_key:
                self._revoked.add(task)
                task.cancel()

    def end_of_run(self, job_key: int) -> None:
        """Ends those that a run has opened: it has ended, and its token with it."""
        for task in tuple(self._of_runs.get(job_key, ())):
            self._revoked.add(task)
            task.cancel()

    async def refuse_revoked(self, context: Any) -> None:
        """In a handler that is cancelled: tells the caller, if it is because the token was revoked."""
        task = asyncio.current_task()
        if task in self._revoked:
            self._revoked.discard(task)
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED, "the token was revoked or replaced, or its run has ended"
            )
