"""Runs that are queued at the agent of the only node, which starts them as soon as there is room: for how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from balsam_launcher.appetite import Appetite
from balsam_launcher.leased import LeasedJob
from balsam_launcher.pool import Pool
from balsam_launcher.timers import Later

QUEUE_SECONDS = 1.0
"""Runs may be queued for so long after another one has ended."""


class Ahead:
    """What a launcher queues ahead, as long as runs end one after another.

    Args:
        pool: its jobs.
        appetite: says how many.
        drop: called with those that are to be taken back, in order.
        later: makes a call later.
        clock: any that only rises [s].
    """

    def __init__(
        self,
        pool: Pool,
        appetite: Appetite,
        *,
        drop: Callable[[Iterable[LeasedJob]], None],
        later: Later,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._appetite = appetite
        self._drop = drop
        self._later = later
        self._clock = clock
        self._watches = False
        self.last_end = -QUEUE_SECONDS
        """When a run has ended, by the clock [s]."""

    @property
    def jobs(self) -> int:
        """How many may be queued now."""
        return self._appetite.jobs_at_agent if self._seconds_left > 0 else 0

    def watch(self) -> None:
        """What is queued now is taken back in time."""
        if self._pool.queued and not self._watches:
            self._watches = True
            self._later(max(0.0, self._seconds_left) + QUEUE_SECONDS / 10, self._look)

    @property
    def _seconds_left(self) -> float:
        return self.last_end + QUEUE_SECONDS - self._clock()

    def _look(self) -> None:
        """Runs that were expected to end in a moment go on: what is queued behind them waits here, where time limits
        and orders count."""
        self._watches = False
        if self._seconds_left > 0:
            self.watch()
        else:  # each goes before those that came back before
            self._drop(reversed(self._pool.queued.values()))
