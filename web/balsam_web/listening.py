"""The event stream of the site, in a thread, begun again where it broke off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from balsam.client import Client
from balsam.errors import BalsamError
from balsam.rpc import unpack_error
from balsam.v1 import event_pb2

_FIRST_RETRY = 0.25
_LAST_RETRY = 2.0

Heard = Callable[[Sequence[event_pb2.Event], int], None]


class Listener:
    """Listens from now on, for as long as it takes: a job store that is away is tried again.

    Args:
        client: the line to the site.
        heard: told of events as they are committed, and the sequence of the last; of none each time that the stream
            stands (again). Called in the thread.
        lost: told why the stream has ended. Called in the thread.
    """

    def __init__(self, client: Client, heard: Heard, lost: Callable[[str], None]) -> None:
        self._client = client
        self._heard = heard
        self._lost = lost
        self._after: int | None = None
        self._closed = threading.Event()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        """Begins to listen."""
        self._thread.start()

    def close(self) -> None:
        """Listens no more."""
        self._closed.set()
        if self._stream is not None:
            self._stream.cancel()

    def _run(self) -> None:
        import grpc

        delay = _FIRST_RETRY
        while not self._closed.is_set():
            before = self._after
            try:
                self._listen()
                problem = "the job store ended the stream of events"
            except grpc.RpcError as error:
                problem = str(unpack_error(error))
            except BalsamError as error:
                problem = str(error)
            if self._closed.is_set():
                return
            self._lost(problem)
            delay = _FIRST_RETRY if self._after != before else min(2 * delay, _LAST_RETRY)
            self._closed.wait(delay)

    def _listen(self) -> None:
        self._stream = stream = self._client.events.watch((), (), self._after)
        try:
            for number, answer in enumerate(stream):
                self._after = answer.sequence
                if answer.events or number == 0:
                    self._heard(answer.events, answer.sequence)
        finally:
            stream.cancel()
