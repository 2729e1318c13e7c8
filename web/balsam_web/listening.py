"""The event stream of the site, in a thread, for as long as it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from balsam.client import Client
from balsam.errors import BalsamError
from balsam.event_stream import EventStream
from balsam.v1 import event_pb2

_FIRST_RETRY = 0.25
_LAST_RETRY = 2.0

Heard = Callable[[Sequence[event_pb2.Event], int], None]


class Listener:
    """Listens from now on: a job store that is away, or refuses, is tried again.

    Args:
        client: the line to the site.
        heard: told of events as they are committed, and the sequence of the last; of none each time that the stream
            stands (again). Called in the thread.
        lost: told why the stream has ended. Called in the thread.
    """

    def __init__(self, client: Client, heard: Heard, lost: Callable[[str], None]) -> None:
        self._stream = EventStream(client, pause=self._pause)
        self._heard = heard
        self._lost = lost
        self._delay = _FIRST_RETRY
        self._seen: int | None = None
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        """Begins to listen."""
        self._thread.start()

    def close(self) -> None:
        """Listens no more."""
        self._stream.close()

    def _run(self) -> None:
        for events in self._stream:
            assert self._stream.sequence is not None
            self._heard(events, self._stream.sequence)

    def _pause(self, problem: BalsamError | None) -> float:
        """Twice as long each time, as long as the stream says nothing new."""
        self._lost(str(problem or "the job store ended the stream of events"))
        came = self._stream.sequence != self._seen
        self._seen = self._stream.sequence
        self._delay = _FIRST_RETRY if came else min(2 * self._delay, _LAST_RETRY)
        return self._delay
