"""Clocks of hosts that disagree: what a reporter calls now, against what we do."""

from __future__ import annotations

_SAME_US = 50_000
"""Less than this is the time that messages take, not a difference of clocks."""


class ClockOffset:
    """How far one reporter's clock is behind ours, from the times at which it says that it sent something.

    Each message shows the difference of the clocks and the time that it was under way; the smallest that was seen is
    the nearest to the truth.
    """

    def __init__(self) -> None:
        self._least_us: int | None = None

    def see(self, sent_us: int, received_us: int) -> int:
        """A message came.

        Args:
            sent_us: when it was sent, by the reporter's clock, microseconds since 1970; 0: it does not say.
            received_us: now, by ours.

        Returns:
            What must be added to the reporter's times [µs]; 0 where the clocks agree.
        """
        if sent_us > 0:
            seen = received_us - sent_us
            self._least_us = seen if self._least_us is None else min(self._least_us, seen)
        least = self._least_us or 0
        return least if abs(least) >= _SAME_US else 0
