"""Signals that come before a launcher can stop as it should: nothing runs yet, so it ends at once, with one line.

Imports next to nothing: the rest of a launcher takes a third of a second to import.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""Those by which a launcher is told to stop."""


def hold_signals() -> None:
    """Whoever is to become a launcher keeps these signals for it: they come when it can take them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def take_signals() -> None:
    """From now on the first of them ends this process. What was ignored stays so, as under `nohup`."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def ignore_signals() -> None:
    """It ends already: what is left to do takes a moment, and needs no end before that."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: FrameType | None) -> None:
    ignore_signals()
    os.write(2, f"balsam launcher: stopped by {signal.Signals(number).name} before it had begun\n".encode())
    raise SystemExit(128 + number)
