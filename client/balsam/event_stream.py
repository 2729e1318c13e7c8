"""The job store's event stream, resumed where it broke off: for who looks on from a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from balsam import stores
from balsam.errors import BalsamError, Unavailable
from balsam.rpc import unpack_error

if TYPE_CHECKING:
    from balsam.client import Client
    from balsam.v1 import event_pb2

_RETRY_SECONDS = 0.5

Pause = Callable[[BalsamError | None], float]
"""Told why a stream broke off (None: the job store ended it), gives how long to wait before it is opened again [s].

Raises what shall end the iteration.
"""


class EventStream:
    """Events of these jobs (none: of all) that enter these states (none: any), from now on, as they are committed.

    Close it from any thread.

    Args:
        client: the line to the job store.
        job_ids: ids of jobs.
        states: names of states.
        pause: see `Pause`; None: it is opened again for as long as the job store is expected to come back.
    """

    def __init__(
        self, client: Client, job_ids: Sequence[str] = (), states: Sequence[str] = (), *, pause: Pause | None = None
    ) -> None:
        self._client = client
        self._job_ids = job_ids
        self._states = states
        self._pause = pause or self._while_expected
        self.sequence: int | None = None
        """That of the last event that was committed when the job store spoke last; None: it has not spoken yet."""
        self._closed = threading.Event()
        self._call: Any = None

    def close(self) -> None:
        """Ends the iteration."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    def __iter__(self) -> Iterator[Sequence[event_pb2.Event]]:
        """Batches of events; an empty one each time the subscription stands: what is read after it misses nothing.

        Raises:
            BalsamError: by `pause`: the job store refuses, or has stopped.
        """
        import grpc

        while not self._closed.is_set():
            problem: BalsamError | None = None
            try:
                yield from self._answers()
            except grpc.RpcError as error:
                problem = unpack_error(error)
            except BalsamError as error:
                problem = error
            if not self._closed.is_set():
                self._closed.wait(self._pause(problem))

    def _answers(self) -> Iterator[Sequence[event_pb2.Event]]:
        self._call = stream = self._client.events.watch(self._job_ids, self._states, self.sequence)
        try:
            for number, answer in enumerate(stream):
                self.sequence = answer.sequence
                if answer.events or number == 0:
                    yield answer.events
        finally:
            stream.cancel()

    def _while_expected(self, problem: BalsamError | None) -> float:
        if problem is None or (isinstance(problem, Unavailable) and stores.expected(self._client.site)):
            return _RETRY_SECONDS
        raise problem from None
