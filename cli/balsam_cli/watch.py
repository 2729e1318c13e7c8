"""When it is time to look at a site again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from balsam.client import Client
from balsam.errors import BalsamError
from balsam.event_stream import EventStream
from balsam.v1 import event_pb2

LEAST_PAUSE = 0.25
"""Seconds between two looks at a site, however fast events come."""
_SHARE = 4.0
"""A look that took long is followed by a pause of so many times that: the job store has other work."""


class Changes:
    """Says when it is time to look at a site again: something has happened there, and the last look is a while ago.

    Args:
        store: the line to its job store.
        see: is given the events, in a thread of its own.
    """

    def __init__(self, store: Client, see: Callable[[Sequence[event_pb2.Event]], None] = lambda _: None) -> None:
        self._events = EventStream(store)
        self._see = see
        self._happened = threading.Event()
        self._happened.set()
        self._error: BalsamError | None = None
        self._looked, self._took = 0.0, 0.0
        threading.Thread(target=self._listen, name="events", daemon=True).start()

    def _listen(self) -> None:
        try:
            for events in self._events:
                self._see(events)
                self._happened.set()
        except BalsamError as error:
            self._error = error
            self._happened.set()

    @property
    def are_over(self) -> bool:
        """The job store has stopped, or lets us in no more: nothing will be heard again."""
        return self._error is not None

    def wait(self, seconds: float) -> bool:
        """Waits until it is time to look, at most about so long. Returns whether it is.

        Raises:
            BalsamError: nothing more will be heard.
        """
        pause = max(LEAST_PAUSE, _SHARE * self._took) - (time.monotonic() - self._looked)
        time.sleep(max(0.0, min(pause, seconds)))
        over = self._happened.wait(max(0.0, seconds - max(0.0, pause)))
        if self._error is not None:
            raise self._error
        if pause > seconds:
            return False
        self._happened.clear()
        return over

    def looked(self, began: float) -> None:
        """A look has ended that began at this time of the monotonic clock."""
        self._looked = time.monotonic()
        self._took = self._looked - began

    def look_again(self) -> None:
        """There is something to be seen, whatever the job store says."""
        self._happened.set()

    def close(self) -> None:
        """Listens no more."""
        self._events.close()
        self._happened.set()
