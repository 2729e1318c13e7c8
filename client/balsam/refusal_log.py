"""The log of what was refused: who tried tokens, or what they may not do. However much it is, the log stays short."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

MOST_LINES = 5
"""About one other end, or one caller, within a minute; how many more there were is told once that is over."""
_MINUTE_SECONDS = 60.0
_MOST_KNOWN = 1000
"""Other ends that are told apart; all beyond are counted as one."""
_OTHERS = "others"


@dataclass(slots=True)
class _Minute:
    """What was refused to one other end since a time."""

    start: float
    refused: int = 0

    @property
    def untold(self) -> int:
        return max(0, self.refused - MOST_LINES)


class RefusalLog:
    """Writes a line about a refusal, unless there were many about the same other end.

    Args:
        log: where the lines go.
        clock: the time [s].
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._known: dict[str, _Minute] = {}

    def refused(self, method: str, who: str, peer: str, why: str) -> None:
        """Something was refused.

        Args:
            method: what was asked for, for example `/balsam.v1.JobService/KillJobs`.
            who: the caller, or that there was no valid token.
            peer: gRPC's name of the other end.
            why: what the caller is told.
        """
        name = f"{who} at {_host(peer)}"
        minute = self._minute(name)
        minute.refused += 1
        if minute.refused <= MOST_LINES:
            self._log.warning("refused %s to %s: %s", method.rpartition(".")[2], name, why)

    def _minute(self, name: str) -> _Minute:
        now = self._clock()
        if name not in self._known and len(self._known) >= _MOST_KNOWN:
            self._forget(now)
            if len(self._known) >= _MOST_KNOWN:
                name = _OTHERS
        minute = self._known.get(name)
        if minute is None or now - minute.start >= _MINUTE_SECONDS:
            if minute is not None:
                self._tell(name, minute)
            minute = self._known[name] = _Minute(now)
        return minute

    def _forget(self, now: float) -> None:
        """Of those whose minute is over, nothing is kept."""
        for name, minute in list(self._known.items()):
            if now - minute.start >= _MINUTE_SECONDS:
                self._tell(name, minute)
                del self._known[name]

    def tell_rest(self) -> None:
        """Tells how many refusals had no line of their own, where the minute is over: to be called now and then."""
        self._forget(self._clock())

    def _tell(self, name: str, minute: _Minute) -> None:
        if minute.untold:
            self._log.warning("refused %d more calls to %s within a minute", minute.untold, name)


def _host(peer: str) -> str:
    """The other end without its port, which is another one with each connection."""
    kind, _, address = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return "the Unix socket" if kind == "unix" else peer
    return address.rpartition(":")[0].replace("%5B", "[").replace("%5D", "]") or peer
