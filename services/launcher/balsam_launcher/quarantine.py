"""Whether it is the node that fails, and not the jobs. No I/O, no clock.

A node with a full disk or a broken library fails every run at once, takes the next, and so eats a whole campaign. What
tells it from a job that is wrong is that the same application does well elsewhere. So quick failures are kept back for
a few seconds: if so many follow one another on one node, without any success there, that with the failures seen on
other nodes this would be chance once in a million times, the node is to blame, and its runs were none.

Only runs on a single node are counted: of several nodes nobody knows which one it was.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

QUICK_SECONDS = 5.0
"""A failure that comes later says more of the job than of the node."""

HOLD_SECONDS = 5.0
"""So long a quick failure is kept back."""

UNKNOWN_SECONDS = 30.0
"""The same where nothing is known yet of its application elsewhere: the other nodes may not be there."""

CHANCE = 1e-6
"""What is less likely than this is no chance."""

_MOST_KEPT = 100  # of one node; one that has so many is given no more until they are judged
_MOST_UNKNOWN = 10  # the same while nothing is known of their application elsewhere
_MEMORY = 1000  # runs of an application; then all counts are halved, so that what is long ago counts less


@dataclass(slots=True)
class Failure:
    """A quick failure that is kept back.

    Attributes:
        run_id: the run.
        application: what it ran.
        time: when it came, by any clock that only rises [s].
        message: why it failed, for people.
    """

    run_id: int
    application: int
    time: float
    message: str


@dataclass(slots=True)
class _Counts:
    good: float = 0.0
    bad: float = 0.0

    def add(self, good: float, bad: float) -> None:
        self.good += good
        self.bad += bad

    def halve(self) -> None:
        self.good, self.bad = self.good / 2, self.bad / 2


@dataclass(slots=True)
class _Application:
    total: _Counts = field(default_factory=_Counts)
    by_node: defaultdict[int, _Counts] = field(default_factory=lambda: defaultdict(_Counts))

    def add(self, node: int, good: float, bad: float) -> None:
        for counts in (self.total, self.by_node[node]):
            counts.add(good, bad)
        if self.total.good + self.total.bad > _MEMORY:
            for counts in (self.total, *self.by_node.values()):
                counts.halve()


class Quarantine:
    """Watches the runs of several nodes.

    Args:
        release: called with the id of a run whose failure was kept back and is its own after all.
        set_aside: called with a node, why, and the ids of the runs that it has failed.
    """

    def __init__(self, release: Callable[[int], None], set_aside: Callable[[int, str, list[int]], None]) -> None:
        self._release = release
        self._set_aside = set_aside
        self._applications: defaultdict[int, _Application] = defaultdict(_Application)
        self._kept: dict[int, list[Failure]] = {}

    @property
    def keeps(self) -> bool:
        """Whether any failure is kept back."""
        return bool(self._kept)

    def is_suspect(self, node: int) -> bool:
        """Whether a node should be given nothing until its failures are judged."""
        kept = self._kept.get(node, [])
        if len(kept) < _MOST_UNKNOWN:
            return False
        return len(kept) >= _MOST_KEPT or not any(self._elsewhere(node, kept[-1].application))

    def did_well(self, node: int, application: int) -> None:
        """A run ended well on a node, or has lasted longer than `QUICK_SECONDS`."""
        self._applications[application].add(node, 1.0, 0.0)
        self._release_all(self._kept.pop(node, []))

    def failed_quickly(self, node: int, failure: Failure) -> None:
        """A run failed within `QUICK_SECONDS`, or could not be started; it is kept back."""
        self._applications[failure.application].add(node, 0.0, 1.0)
        self._kept.setdefault(node, []).append(failure)
        self._judge(node)

    def failed_later(self, node: int, application: int) -> None:
        """A run failed after that: it says nothing of the node but that it can run something."""
        self._release_all(self._kept.pop(node, []))

    def look(self, now: float) -> None:
        """Judges once more, since others have done well meanwhile, and releases what has been kept back long enough."""
        for node in list(self._kept):
            self._judge(node)
            kept = self._kept.get(node, [])
            old = [failure for failure in kept if failure.time + self._patience(node, failure) <= now]
            if old:
                gone = {failure.run_id for failure in old}
                self._kept[node] = [failure for failure in kept if failure.run_id not in gone]
                self._release_all(old)
            if not self._kept.get(node, True):
                del self._kept[node]

    def release_all(self) -> None:
        """Nothing is kept back any longer."""
        for node in list(self._kept):
            self._release_all(self._kept.pop(node))

    def _patience(self, node: int, failure: Failure) -> float:
        return HOLD_SECONDS if sum(self._elsewhere(node, failure.application)) else UNKNOWN_SECONDS

    def _judge(self, node: int) -> None:
        kept = self._kept[node]
        chance = sum(math.log(self._failing_elsewhere(node, failure.application)) for failure in kept)
        if chance >= math.log(CHANCE):
            return
        del self._kept[node]
        last = (kept[-1].message.splitlines() or ["no reason"])[0]
        reason = f"{len(kept)} runs in a row failed here at once, and do well elsewhere; the last: {last}"
        self._set_aside(node, reason, [failure.run_id for failure in kept])

    def _failing_elsewhere(self, node: int, application: int) -> float:
        """How likely a run of an application fails on other nodes, by what was seen (Laplace's rule of succession); 1:
        nothing was."""
        good, bad = self._elsewhere(node, application)
        return (bad + 1) / (good + bad + 2) if good >= 1 else 1.0

    def _elsewhere(self, node: int, application: int) -> tuple[float, float]:
        """How many runs of an application did well on other nodes, and how many failed."""
        known = self._applications[application]
        here = known.by_node[node]
        return known.total.good - here.good, known.total.bad - here.bad

    def _release_all(self, failures: list[Failure]) -> None:
        for failure in failures:
            self._release(failure.run_id)
