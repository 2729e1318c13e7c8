"""The scheduler looks after launches: seldom while some are not over, and not at all while there are none.

It learns of new ones from the directory that their scripts are written to, so that nobody is asked for nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from balsam.client import Client
from balsam.errors import BalsamError
from balsam.site import Site
from balsam_scheduler.batch import calls
from balsam_scheduler.batch.calls import Start
from balsam_scheduler.batch.looking import refresh

log = logging.getLogger("balsam.scheduler")

LOOK_SECONDS = 30.0
"""Between two looks while launches are not over."""
_RETRY_SECONDS = 5.0
_STAT_SECONDS = 1.0


class LaunchWatch:
    """Looks after the launches of a site, until it is stopped.

    Args:
        site: the site.
        start: starts a process; see `balsam_scheduler.programs.Runner.start`.
    """

    def __init__(self, site: Site, start: Start) -> None:
        self._site = site
        self._client = Client(site, retry_seconds=0)
        self._start = start
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    async def run(self) -> None:
        """Looks, for ever."""
        written, due = -1, 0.0
        while not self._stopped:
            last = self._last_written()
            if last != written or time.monotonic() >= due:
                written = last
                due = await asyncio.to_thread(self._look) + time.monotonic()
            await asyncio.sleep(_STAT_SECONDS)

    def stop(self) -> None:
        """Ends a command of the batch system that is under way."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def _last_written(self) -> int:
        try:
            return self._site.qsubmit.stat().st_mtime_ns
        except OSError:
            return 0

    def _look(self) -> float:
        """Looks once; gives the seconds until it is to be done again."""
        try:
            looked_at = refresh(self._site, self._client, functools.partial(calls.run, start=self._started))
        except _Stopped:
            return math.inf
        except BalsamError as error:
            log.debug("cannot look after launches: %s", error)
            return _RETRY_SECONDS
        except Exception:  # one odd launch must not end the scheduler
            log.exception("cannot look after launches")
            return LOOK_SECONDS
        return math.inf if all(launch.is_over for launch in looked_at) else LOOK_SECONDS

    @contextlib.contextmanager
    def _started(self, words: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        with self._start(words, **options) as process:
            with self._lock:
                self._process = process
                stopped = self._stopped
            if stopped:
                self.stop()
            try:
                yield process
            finally:
                with self._lock:
                    self._process = None
                    if self._stopped:
                        raise _Stopped


class _Stopped(Exception):
    """The scheduler stops: what a command said that was killed for that means nothing."""
