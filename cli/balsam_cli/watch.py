"""The job store's event stream, resumed where it broke off."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from balsam import stores
from balsam.client import Client
from balsam.errors import Unavailable
from balsam.rpc import unpack_error
from balsam.v1 import event_pb2

_RETRY_SECONDS = 0.5


class EventStream:
    """Events of these jobs (none: of all) that enter these states (none: any), from now on, as they are committed.

    Close it from any thread.
    """

    def __init__(self, store: Client, job_ids: Sequence[str] = (), states: Sequence[str] = ()) -> None:
        self._store = store
        self._job_ids = job_ids
        self._states = states
        self._after: int | None = None
        self._closed = threading.Event()
        self._call: Any = None

    def close(self) -> None:
        """Ends the iteration."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    def __iter__(self) -> Iterator[Sequence[event_pb2.Event]]:
        """Batches of events; an empty one each time the subscription stands: what is read after it misses nothing.

        While the job store is away it is tried again, for as long as it is expected to come back.

        Raises:
            BalsamError: the job store refuses, or has stopped.
        """
        import grpc

        while not self._closed.is_set():
            try:
                yield from self._answers()
            except grpc.RpcError as error:
                if self._closed.is_set():
                    return
                problem = unpack_error(error)
                if not isinstance(problem, Unavailable) or not stores.expected(self._store.site):
                    raise problem from None
            self._closed.wait(_RETRY_SECONDS)

    def _answers(self) -> Iterator[Sequence[event_pb2.Event]]:
        self._call = stream = self._store.events.watch(self._job_ids, self._states, self._after)
        try:
            for number, answer in enumerate(stream):
                self._after = answer.sequence
                if answer.events or number == 0:
                    yield answer.events
        finally:
            stream.cancel()
