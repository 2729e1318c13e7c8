"""What a step of a job obeys: its time limit, and a stop that may come at any moment."""

from __future__ import annotations

import math
import os
import select
import time


class Stopped(Exception):
    """The step was stopped: its job was killed, or is not ours any more."""


class TimedOut(Exception):
    """The step passed its time limit."""


class Limit:
    """Watched by the thread that does a step, told by the loop.

    `fileno` becomes readable at a stop, so that a thread can wait for that and a process at once.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self.seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.stopped = False

    def begin(self, seconds: float | None = None) -> None:
        """Starts the time limit anew, or another one."""
        self.seconds = self.seconds if seconds is None else seconds
        self._deadline = time.monotonic() + self.seconds

    def stop(self) -> None:
        """Asks the step to stop."""
        self.stopped = True
        os.eventfd_write(self._event, 1)

    def check(self) -> None:
        """Raises Stopped or TimedOut when it is time to give up."""
        if self.stopped:
            raise Stopped
        if time.monotonic() > self._deadline:
            raise TimedOut

    @property
    def remaining(self) -> float:
        """Seconds left, 0 or more."""
        return max(0.0, self._deadline - time.monotonic())

    def pause(self, seconds: float) -> None:
        """Sleeps; a stop ends it at once."""
        poll = select.poll()
        poll.register(self, select.POLLIN)
        poll.poll(seconds * 1000)

    def fileno(self) -> int:
        """Descriptor that is readable once the step is to stop."""
        return self._event

    def close(self) -> None:
        """Frees the descriptor."""
        os.close(self._event)
