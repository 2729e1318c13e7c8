"""What happens to the jobs of a workflow, as the job store tells it: no polling."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from balsam.errors import BalsamError, Unavailable
from balsam.rpc import Connection, unpack_error
from balsam.site import Site
from balsam.states import State
from balsam.v1 import event_service_pb2
from balsam.v1.event_service_pb2_grpc import EventServiceStub

RECONNECT_SECONDS = 0.5


class Move(NamedTuple):
    """A job entered states."""

    job_id: str
    state: str
    """The last of them."""
    message: str


class Watch:
    """Hands the moves of a workflow's jobs to `tell`, from its first event on, in a thread of its own.

    When the job store goes away, it waits for it to come back, and goes on where it was. What ends the watch
    for good, such as a refused credential, is kept in `error`.
    """

    def __init__(self, site: Site, workflow: str, tell: Callable[[Sequence[Move]], None]) -> None:
        self.error: BalsamError | None = None
        self._connection = Connection(site)
        self._tell = tell
        self._request = event_service_pb2.WatchEventsRequest(
            filter=event_service_pb2.EventFilter(workflow=workflow), after_sequence=0
        )
        self._closed = threading.Event()
        self._call: Any = None
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the watch."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()
        self._thread.join(timeout=5)
        self._connection.close()

    def _run(self) -> None:
        import grpc

        while not self._closed.is_set():
            try:
                self._listen()
            except grpc.RpcError as error:
                problem = unpack_error(error)
                if not isinstance(problem, Unavailable) and not self._closed.is_set():
                    self.error = problem
                    return
            self._closed.wait(RECONNECT_SECONDS)

    def _listen(self) -> None:
        self._call = self._connection.stream(EventServiceStub, "WatchEvents", self._request)
        for answer in self._call:
            moves = [Move(e.job_id, State(e.states[-1]).name, e.message) for e in answer.events if e.states]
            if moves:
                self._tell(moves)
            self._request.after_sequence = answer.sequence
