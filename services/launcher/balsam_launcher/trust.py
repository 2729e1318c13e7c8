"""Watches the time in which the launcher's leases certainly live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_LOOK_SECONDS = 1.0  # while it is over, for whether it has begun again
_LEAST_SECONDS = 0.05


class TrustWatch:
    """Tells when the session may have ended without our knowing, and when it lives after all.

    Args:
        trusted_until: gives the end of that time, by `time.monotonic()`.
        on_end: called when it is over.
        on_return: called when it has begun again.
    """

    def __init__(
        self, trusted_until: Callable[[], float], *, on_end: Callable[[], None], on_return: Callable[[], None]
    ) -> None:
        self._trusted_until = trusted_until
        self._on_end = on_end
        self._on_return = on_return
        self._held = True
        self._timer: asyncio.TimerHandle | None = None

    @property
    def holds(self) -> bool:
        """Whether the leases certainly live now."""
        return time.monotonic() < self._trusted_until()

    def start(self) -> None:
        """Begins to watch."""
        self._look()

    def stop(self) -> None:
        """Ends watching."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        held, self._held = self._held, self.holds
        left = self._trusted_until() - time.monotonic()
        pause = max(_LEAST_SECONDS, left) if self._held else _LOOK_SECONDS
        self._timer = asyncio.get_running_loop().call_later(pause, self._look)
        if held and not self._held:
            self._on_end()
        elif self._held and not held:
            self._on_return()
