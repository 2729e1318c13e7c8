"""How much work a launcher asks for beyond what fits on its nodes now. No I/O; time comes in.

A slot must not idle between the end of one job and the arrival of the next, so a little is fetched ahead: about what
the nodes work off in a tenth of a second. For short jobs that is dozens; for long ones nothing.
"""

from __future__ import annotations

WINDOW_SECONDS = 0.1
"""So much work is held ahead."""

AT_AGENT_SECONDS = 0.02
"""So much of that lies ready at the agent, which starts it without asking."""

_LEARNING = 0.1  # weight of the newest run in the running means
_FIRST_JOBS = 64  # so many at least, to find out how fast it goes
_FIRST_AT_AGENT = 8
_RATE_SECONDS = 0.1
_MOST_JOBS = 2000


class Appetite:
    """Learns from the runs that ended how many jobs to hold ahead.

    Args:
        capacity: nodes of the launcher.
    """

    def __init__(self, capacity: float) -> None:
        self._capacity = capacity
        self._seconds = 0.0
        self._share = 0.0
        self._known = False
        self._rate = 0.0
        self._count = 0
        self._since = 0.0

    def learn(self, seconds: float, share: float, now: float) -> None:
        """Takes note of a run that ended.

        Args:
            seconds: how long it took.
            share: what it took, in nodes.
            now: the time, by any clock that only rises [s].
        """
        weight = _LEARNING if self._known else 1.0
        self._seconds += weight * (seconds - self._seconds)
        self._share += weight * (share - self._share)
        self._known = True
        self._count += 1
        if now - self._since >= _RATE_SECONDS:
            self._rate = self._count / (now - self._since)
            self._count, self._since = 0, now

    @property
    def jobs(self) -> int:
        """How many jobs to hold ahead."""
        if not self._known:
            return 0
        slots = self._capacity / self._share
        # What the nodes could work off if nothing but the runs took time, and twice what was seen: the smaller.
        by_length = slots * WINDOW_SECONDS / max(self._seconds, 1e-4)
        by_rate = 2 * self._rate * WINDOW_SECONDS + _FIRST_JOBS
        return int(min(by_length, by_rate, _MOST_JOBS))

    @property
    def jobs_at_agent(self) -> int:
        """How many of them an agent should know of: as many as it may start before the launcher hears of an end."""
        return min(self.jobs, _FIRST_AT_AGENT + int(self._rate * AT_AGENT_SECONDS))

    @property
    def nodes(self) -> float:
        """The same, in nodes."""
        return self.jobs * self._share
