"""What events have told: which jobs run since when, and which failed last.

No index of the job store leads to either: they are looked for once, and then kept in step with the events.
"""

from __future__ import annotations

import datetime
import threading
from collections import deque
from collections.abc import Iterable, Mapping

from balsam.convert import time_of
from balsam.states import State
from balsam.v1 import event_pb2

MOST_FAILED = 500


class Told:
    """For one thread that hears of events, and one that asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, datetime.datetime | None] = {}
        self._failed: deque[str] = deque(maxlen=MOST_FAILED)

    def see(self, events: Iterable[event_pb2.Event]) -> None:
        """Takes what has happened."""
        with self._lock:
            for event in events:
                last = event.states[-1] if event.states else None
                if last == State.RUNNING.value:
                    self._running[event.job_id] = time_of(event.time)
                elif last is not None or event.deleted:
                    self._running.pop(event.job_id, None)
                if last == State.FAILED.value:
                    self._failed.append(event.job_id)

    def add_failed(self, ids: Iterable[str]) -> None:
        """Takes jobs that had failed before, the newest first."""
        with self._lock:
            for one in ids:
                if len(self._failed) < MOST_FAILED:
                    self._failed.appendleft(one)

    def add_running(self, starts: Mapping[str, datetime.datetime | None]) -> None:
        """Takes jobs that ran before, and since when if that is known; what an event has told stays."""
        with self._lock:
            for one, start in starts.items():
                self._running[one] = self._running.get(one) or start

    def drop(self, starts: Mapping[str, datetime.datetime | None]) -> None:
        """Forgets jobs that do not run, unless they have started again since then."""
        with self._lock:
            for one, start in starts.items():
                if self._running.get(one) == start:
                    self._running.pop(one, None)

    def failed(self) -> list[str]:
        """The jobs that failed last, each once, the last one last."""
        with self._lock:
            return list(dict.fromkeys(self._failed))

    def running(self) -> dict[str, datetime.datetime | None]:
        """The jobs that run, since when; in the order in which they were told of."""
        with self._lock:
            return dict(self._running)
