"""Jobs that end."""

from __future__ import annotations

import threading
from typing import Any

from balsam.client import Client
from balsam.errors import BalsamError, NotFound, Unavailable
from balsam.event_stream import EventStream
from balsam.states import END, State


class JobEnd:
    """Knows when a job has ended: told by the job store's event stream, which a thread listens to."""

    def __init__(self, store: Client, job_id: str) -> None:
        self._store = store
        self.job_id = job_id
        """Which job it is."""
        self._changed = threading.Event()
        self._events = EventStream(store, [job_id])
        self.job: dict[str, Any] = {}
        """The job's values as they were when last seen."""
        self.changes = 0
        """How often something was heard of it."""
        self.error: BalsamError | None = None
        """Why nothing more will be heard."""
        threading.Thread(target=self._listen, name="job-end", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Waits until the job has ended, at most so long. Returns whether it has.

        Raises:
            BalsamError: nothing more can be heard of it.
        """
        over = self._changed.wait(seconds)
        if self.error is not None:
            raise self.error
        return over

    def close(self) -> None:
        """Listens no more."""
        self._events.close()

    def _listen(self) -> None:
        try:
            for _ in self._events:
                has_ended = self._has_ended()
                self.changes += 1
                if has_ended:
                    break
        except NotFound:
            self.error = NotFound(f"job {self.job_id} was deleted")
        except BalsamError as error:
            self.error = error
        self._changed.set()

    def _has_ended(self) -> bool:
        try:
            self.job = self._store.jobs.get(self.job_id)
        except Unavailable:
            return False  # the stream breaks too; when it stands again, we are asked again
        return State[self.job["state"]] in END
