"""What the last events say of the time before the page was opened. No I/O.

Backwards from how many jobs are in each state now: each event took a job out of one state and into others. Where the
event before lies further back than what was read, the state that it left is that from which jobs usually come.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from balsam_web.history import MOST, Bucket, ended

_CREATED = "CREATED"
_USUALLY_BEFORE = {
    "AWAITING_PARENTS": "CREATED",
    "READY": "CREATED",
    "STAGED_IN": "READY",
    "PREPROCESSED": "STAGED_IN",
    "RUNNING": "PREPROCESSED",
    "RUN_DONE": "RUNNING",
    "RUN_ERROR": "RUNNING",
    "RUN_TIMEOUT": "RUNNING",
    "RESTART_READY": "RUN_TIMEOUT",
    "POSTPROCESSED": "RUN_DONE",
    "JOB_FINISHED": "POSTPROCESSED",
    "FAILED": "RUN_ERROR",
    "USER_KILLED": "PREPROCESSED",
}

Event = tuple[float, str, tuple[str, ...]]
"""When [s since 1970], id of the job, the states that it entered."""


def look_back(events: Iterable[Event], now: Mapping[str, int]) -> tuple[list[Bucket], float]:
    """Buckets up to the last event, and their width [s].

    Args:
        events: the last events, oldest first.
        now: state -> jobs in it after the last event.
    """
    listed = sorted((event for event in events if event[2]), key=lambda event: event[0])
    if not listed:
        return [], 1.0
    width = width_for(listed[-1][0] - listed[0][0])
    changes: dict[float, Counter[str]] = defaultdict(Counter)
    entered: dict[float, Counter[str]] = defaultdict(Counter)
    last: dict[str, str] = {}
    for time, job_id, states in listed:
        start = math.floor(time / width) * width
        before = last.get(job_id, _USUALLY_BEFORE.get(states[0], ""))
        changes[start][before] -= 1
        changes[start][states[-1]] += 1
        entered[start].update(states)
        last[job_id] = states[-1]
    return _backwards(changes, entered, now), width


def width_for(seconds: float) -> float:
    """The width of buckets [s] of which half of what may be kept covers so long."""
    return float(2 ** max(0, math.ceil(math.log2(max(1.0, seconds) / (MOST / 2)))))


def _backwards(
    changes: Mapping[float, Counter[str]], entered: Mapping[float, Counter[str]], now: Mapping[str, int]
) -> list[Bucket]:
    counts = {state: number for state, number in now.items() if number > 0}
    found = []
    for start in sorted(changes, reverse=True):
        finished, failed = ended(entered[start])
        found.append(Bucket(start, counts, finished, failed))
        before = {state: counts.get(state, 0) - changes[start][state] for state in {*counts, *changes[start]} - {""}}
        counts = {state: number for state, number in before.items() if number > 0}
    return found[::-1]
