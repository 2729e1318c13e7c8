"""Calls that are due later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Later = Callable[[float, Callable[[], None]], None]
"""Makes a call in so many seconds."""


class Timers:
    """Those of a launcher, in the loop that runs."""

    def __init__(self) -> None:
        self._timers: list[asyncio.TimerHandle] = []

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Makes a call in so many seconds, unless all are stopped before."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timers = [timer for timer in self._timers if not timer.cancelled() and timer.when() > now]
        self._timers.append(loop.call_later(seconds, call))

    def stop(self) -> None:
        """Makes no more calls."""
        for timer in self._timers:
            timer.cancel()
