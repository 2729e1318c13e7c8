"""Outputs that launchers send by way of the job store, of runs whose files cannot be read here. Of each the end is kept
as long as a page shows it, so that it is still there when the run has ended."""

from __future__ import annotations

import threading
import time
from typing import Any

from balsam.client import Client
from balsam.errors import BalsamError

MOST = 16
"""Outputs that are followed at once: fewer than one user may read."""
KEPT_SECONDS = 60.0
"""After a page has asked for one the last time."""
_FIRST_SECONDS = 2.0


class SentOutput:
    """The end of one run's output, followed in a thread until the run ends."""

    def __init__(self, client: Client, job_id: str, most: int) -> None:
        self.problem: BalsamError | None = None
        """Why it was sent no further."""
        self.is_over = False
        self.asked_at = time.monotonic()
        self._most = most
        self._kept = (b"", 0)
        self._stream = client.outputs.read(job_id, -most, follow=True)
        self._changed = threading.Event()
        threading.Thread(target=self._follow, name="sent-output", daemon=True).start()

    def close(self) -> None:
        """Follows it no more."""
        self._stream.close()

    def wait(self) -> None:
        """Waits for the first of it, for a moment."""
        self._changed.wait(_FIRST_SECONDS)

    def end(self) -> tuple[bytes, int]:
        """What is kept, and where that begins in the output."""
        return self._kept

    def _follow(self) -> None:
        try:
            for data, start in self._stream:
                self._take(data, start)
        except BalsamError as error:
            self.problem = error
        self.is_over = True
        self._changed.set()

    def _take(self, data: bytes, start: int) -> None:
        before, first = self._kept
        together = before + data if start == first + len(before) else data
        end = start + len(data)
        together = together[-self._most :]
        self._kept = together, end - len(together)  # at once: other threads read it
        self._changed.set()


class SentOutputs:
    """Those that are followed; used in any thread.

    Args:
        client: the line to the site.
        most: so many bytes of each are kept.
    """

    def __init__(self, client: Client, most: int) -> None:
        self._client = client
        self._most = most
        self._lock = threading.Lock()
        self._followed: dict[tuple[str, int], SentOutput] = {}

    def of(self, job: dict[str, Any], *, may_run: bool) -> SentOutput | None:
        """That of a job's last run; None: it is not followed, and the job does not run.

        Args:
            job: the values of its fields.
            may_run: it may run now: then it is followed from now on.
        """
        key = str(job["job_id"]), int(job.get("attempt") or 0)
        with self._lock:
            self._tidy()
            found = self._followed.get(key)
            begins = may_run and (found is None or (found.is_over and found.problem is not None))
            if begins:
                found = self._followed[key] = SentOutput(self._client, key[0], self._most)
        if found is not None:
            found.asked_at = time.monotonic()
            if begins:
                found.wait()
        return found

    def _tidy(self) -> None:
        by_age = sorted(self._followed, key=lambda key: self._followed[key].asked_at)
        old = time.monotonic() - KEPT_SECONDS
        for number, key in enumerate(by_age):
            if self._followed[key].asked_at < old or len(by_age) - number >= MOST:
                self._followed.pop(key).close()
