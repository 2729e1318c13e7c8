"""States, throughput and nodes over time, in so many points at most, however long it takes. No I/O; time comes in."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST = 600
"""Points that are kept; beyond, neighbours are taken together."""
RATE_SECONDS = 10.0
"""A rate is that of so many seconds."""

FINISHED = frozenset({"JOB_FINISHED"})
FAILED = frozenset({"FAILED", "USER_KILLED"})


@dataclass(slots=True)
class Bucket:
    """What happened within a span of time."""

    time: float
    """Its begin [s since 1970]."""
    counts: Mapping[str, int] | None = None
    """State -> jobs in it, at its end; None: not known."""
    finished: int = 0
    """Jobs that finished in it."""
    failed: int = 0
    """Jobs that failed or were killed in it."""
    nodes: float | None = None
    """Nodes of the launchers, at its end; None: not known."""
    busy: float | None = None
    """Of these, in use."""


def merged(buckets: Iterable[Bucket], width: float) -> list[Bucket]:
    """Buckets of this width [s], from narrower ones in order of time."""
    found: list[Bucket] = []
    for one in buckets:
        time = math.floor(one.time / width) * width
        if not found or found[-1].time < time:
            found.append(Bucket(time))
        last = found[-1]
        last.counts = last.counts if one.counts is None else one.counts
        last.finished += one.finished
        last.failed += one.failed
        if one.nodes is not None:
            last.nodes, last.busy = one.nodes, one.busy
    return found


def ended(entered: Mapping[str, int]) -> tuple[int, int]:
    """How many jobs finished, and failed or were killed, by how many entered each state."""
    return sum(entered.get(s, 0) for s in FINISHED), sum(entered.get(s, 0) for s in FAILED)


class History:
    """Buckets of one width, which doubles when there are too many."""

    def __init__(self) -> None:
        self.width = 1.0
        """Of each bucket [s]."""
        self._buckets: list[Bucket] = []

    def __len__(self) -> int:
        return len(self._buckets)

    def add(self, now: float, counts: Mapping[str, int], entered: Mapping[str, int], nodes: float, busy: float) -> None:
        """Takes note of what is true now, and how many jobs entered each state since the last time."""
        finished, failed = ended(entered)
        self._fill_gap(now)
        self._buckets.append(Bucket(now, dict(counts), finished, failed, nodes, busy))
        self._thin()

    def _fill_gap(self, now: float) -> None:
        """While nobody looked, nothing happened: the next point must not be joined to the last by a slope."""
        if not self._buckets:
            return
        last = self._buckets[-1]
        for time in (last.time + self.width, math.floor(now / self.width) * self.width - self.width):
            if self._buckets[-1].time < time < now - self.width / 2:
                self._buckets.append(Bucket(time, last.counts, 0, 0, last.nodes, last.busy))

    def put_before(self, past: Sequence[Bucket], width: float) -> None:
        """Takes what happened before the first point; `width` of its buckets [s]."""
        first = self._buckets[0].time if self._buckets else math.inf
        self.width = max(self.width, width)
        self._buckets = [*(one for one in past if one.time < first), *self._buckets]
        self._thin()

    def _thin(self) -> None:
        self._buckets = merged(self._buckets, self.width)
        while len(self._buckets) > MOST:
            self.width *= 2
            self._buckets = merged(self._buckets, self.width)

    def columns(self, now: float) -> dict[str, Any]:
        """All points, a list for each thing that a chart shows; rates are per second."""
        buckets = self._buckets
        states = sorted({state for one in buckets for state in one.counts or ()})
        return {
            "width": self.width,
            "time": [one.time for one in buckets],
            "counts": {state: [(one.counts or {}).get(state, 0) for one in buckets] for state in states},
            "finished": [self._rate(one.finished, one, now) for one in buckets],
            "failed": [self._rate(one.failed, one, now) for one in buckets],
            "nodes": [one.nodes for one in buckets],
            "busy": [one.busy for one in buckets],
        }

    def last(self, now: float) -> dict[str, Any] | None:
        """The last point, for who has those before it; `length`: how many there are, with it."""
        if not self._buckets:
            return None
        one = self._buckets[-1]
        return {
            "width": self.width,
            "length": len(self._buckets),
            "time": one.time,
            "counts": one.counts or {},
            "finished": self._rate(one.finished, one, now),
            "failed": self._rate(one.failed, one, now),
            "nodes": one.nodes,
            "busy": one.busy,
        }

    def _rate(self, number: int, bucket: Bucket, now: float) -> float | None:
        """Per second; None where too little of the bucket is over to tell."""
        seconds = min(self.width, now - bucket.time)
        return round(number / seconds, 3) if seconds >= self.width / 2 else None


class Meter:
    """How many jobs a second end, now."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int]] = deque()
        self._since = math.inf

    def add(self, now: float, entered: Mapping[str, int]) -> None:
        """Takes note of how many jobs entered each state since the last time."""
        self._since = min(self._since, now)
        finished, failed = ended(entered)
        if finished or failed:
            self._seen.append((now, finished, failed))
        while self._seen and self._seen[0][0] <= now - RATE_SECONDS:
            self._seen.popleft()

    @property
    def moves(self) -> bool:
        """Whether jobs have ended within the last `RATE_SECONDS`."""
        return bool(self._seen)

    def rates(self, now: float) -> dict[str, float]:
        """Jobs a second that finished, and that failed or were killed."""
        seconds = max(1.0, min(RATE_SECONDS, now - self._since))
        return {
            "finished": round(sum(one[1] for one in self._seen) / seconds, 2),
            "failed": round(sum(one[2] for one in self._seen) / seconds, 2),
        }
