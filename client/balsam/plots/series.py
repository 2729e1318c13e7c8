"""Moves of jobs -> how many jobs were in which state, over time. Pure.

    collector = Collector()
    collector.add(key, time_us, (1, 3, 4, 5))    # for every event
    series = collector.series(end_us)

Of a job nothing is kept but its state and since when: a million take 130 MB, their events none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from balsam.plots.bins import MOST, Bins
from balsam.plots.durations import Durations
from balsam.states import END, State

if TYPE_CHECKING:
    import pandas

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RUNNING = int(State.RUNNING)
_STATES = [int(state) for state in State]
_NODES = len(State) + 1  # the place of the nodes in use, after those of the states
_ENDED = frozenset(map(int, END))
LEAST_US = 1_000_000
"""A series is at least so long: there is nothing to be seen in less."""


@dataclass(frozen=True)
class Stay:
    """How long jobs stayed in a state, each time that they left it.

    Attributes:
        count: how often one was left.
        mean: of all [s].
        low: one in ten was shorter [s].
        median: half of them were shorter [s].
        high: one in ten was longer [s].
    """

    count: int
    mean: float
    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Present:
    """A launcher that was at work.

    Attributes:
        start: since then [s since 1970].
        end: until then, or until now [s since 1970].
        nodes: how many it had.
    """

    start: float
    end: float
    nodes: int


@dataclass(frozen=True)
class Series:
    """What happened to jobs, in bins of time.

    Attributes:
        edges: of the bins [s since 1970], rising, one more than there are bins; all are equally wide, but the first and
            the last may be narrower. Empty if nothing has happened.
        jobs: name of a state -> how many jobs were in it, the mean of each bin.
        entered: name of a state -> how often jobs entered it, in each bin.
        nodes: nodes in use by jobs that were RUNNING, the mean of each bin; a job counts its `num_nodes`, or its share
            of a node.
        stays: name of a state -> how long jobs stayed in it; of states that some job has left.
        total: jobs that were seen.
        last: name of a state -> how many jobs were in it at the end.
        launchers: those whose nodes are known: at work at some time, or one in place of all.
        title: what it is of, for people.
    """

    edges: tuple[float, ...] = ()
    jobs: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    entered: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    nodes: tuple[float, ...] = ()
    stays: Mapping[str, Stay] = field(default_factory=dict)
    total: int = 0
    last: Mapping[str, int] = field(default_factory=dict)
    launchers: tuple[Present, ...] = ()
    title: str = ""

    @property
    def widths(self) -> list[float]:
        """Of the bins [s]."""
        return [end - start for start, end in zip(self.edges, self.edges[1:], strict=False)]

    def times(self) -> list[datetime]:
        """The edges, in UTC."""
        return [_EPOCH + timedelta(seconds=edge) for edge in self.edges]

    def with_nodes(self, nodes: int) -> Series:
        """The same, with so many nodes all the time in place of those of `launchers`."""
        always = (Present(self.edges[0], self.edges[-1], nodes),) if self.edges else ()
        return replace(self, launchers=always)

    def utilization(self) -> float | None:
        """Share of the capacity that running jobs use, 0 to 1, where nodes are known; None: none are."""
        parts = list(zip(self.nodes, self.capacity() if self.edges else [], self.widths, strict=True))
        there = sum(capacity * width for _, capacity, width in parts)
        used = sum(nodes * width for nodes, capacity, width in parts if capacity)
        return used / there if there else None

    def capacity(self) -> list[float]:
        """Nodes of `launchers`, the mean of each bin."""
        totals = [0.0] * (len(self.edges) - 1)
        for launcher in self.launchers:
            for place, (start, end) in enumerate(zip(self.edges, self.edges[1:], strict=False)):
                overlap = min(end, launcher.end) - max(start, launcher.start)
                totals[place] += launcher.nodes * max(0.0, overlap) / (end - start)
        return totals

    def frame(self) -> pandas.DataFrame:
        """A pandas DataFrame: a row for each bin, by the time at which it begins.

        Its columns are `seconds`, the width of the bin [s]; ``jobs_STATE`` and ``entered_STATE`` for each state that
        jobs were in; `nodes`, those in use; `capacity`, nodes of the launchers that are known.

        Raises:
            ValidationError: pandas is not installed.
        """
        from balsam.plots.frames import frame_of

        return frame_of(self)

    def stays_frame(self) -> pandas.DataFrame:
        """A pandas DataFrame of `stays`: a row for each state; columns `count`, `mean`, `low`, `median`, `high`.

        Raises:
            ValidationError: pandas is not installed.
        """
        from balsam.plots.frames import stays_frame_of

        return stays_frame_of(self)

    def record(self) -> dict[str, Any]:
        """The same as plain data, for JSON; times are RFC 3339 in UTC."""
        from balsam.convert import rfc3339

        return {
            "title": self.title,
            "total": self.total,
            "edges": [rfc3339(time) for time in self.times()],
            "jobs": {state: list(counts) for state, counts in self.jobs.items()},
            "entered": {state: list(counts) for state, counts in self.entered.items()},
            "nodes": list(self.nodes),
            "capacity": self.capacity() if self.edges else [],
            "utilization": self.utilization(),
            "stays": {
                state: {"count": s.count, "mean": s.mean, "low": s.low, "median": s.median, "high": s.high}
                for state, s in self.stays.items()
            },
        }


class Collector:
    """Takes the moves of jobs, of each in their order, and gives the series.

    Args:
        since_us: what was before counts only for where the jobs stood then [us since 1970].
        nodes_of: nodes that a job uses while it runs, by its key; None: one.
        most_bins: of the series.
    """

    def __init__(
        self, *, since_us: int | None = None, nodes_of: Callable[[int], float] | None = None, most_bins: int = MOST
    ) -> None:
        self._bins = Bins(_NODES + 1, most_bins)
        self._jobs: dict[int, int] = {}  # key -> time << 4 | state
        self._since_us = since_us or 0
        self._nodes_of = nodes_of or _one
        self._stays = {state: Durations() for state in _STATES}
        self._last_us = 0
        self._first_us: int | None = None
        self._total = 0

    def add(self, key: int, time_us: int, states: Sequence[int], *, deleted: bool = False) -> None:
        """Adds a move.

        Args:
            key: stands for the job.
            time_us: when it happened, microseconds since 1970.
            states: entered at that moment, in order.
            deleted: the job is gone: it is in no state any more.
        """
        known = self._jobs.get(key)
        if deleted:
            if known is not None:
                del self._jobs[key]
                self._move(key, known & 15, 0, max(time_us, known >> 4))
            return
        if not states:
            return
        before = 0
        if known is not None:
            # The clock of who ended something may be behind that of who began it.
            time_us, before = max(time_us, known >> 4), known & 15
        else:
            self._total += 1
        last = int(states[-1])
        self._jobs[key] = time_us << 4 | last
        self._move(key, before, last, time_us)
        if time_us >= self._since_us:
            self._count(before, time_us - (known or 0) // 16, states, self._bins.at(time_us).entered)

    def _count(self, before: int, stay_us: int, states: Sequence[int], entered: list[int]) -> None:
        if before:
            self._stays[before].add(stay_us)
        for state in states[:-1]:
            self._stays[state].add(0)  # passed at once
        for state in states:
            entered[state] += 1

    def _move(self, key: int, before: int, after: int, time_us: int) -> None:
        time_us = max(time_us, self._since_us)
        one = self._bins.at(time_us)
        offset = time_us - (self._bins.origin or 0)
        self._last_us = max(self._last_us, time_us)
        self._first_us = time_us if self._first_us is None else min(self._first_us, time_us)
        if before == after:
            return
        if before:
            one.net[before] -= 1
            one.moment[before] -= offset
        if after:
            one.net[after] += 1
            one.moment[after] += offset
        if _RUNNING in (before, after):
            change = self._nodes_of(key) if after == _RUNNING else -self._nodes_of(key)
            one.net[_NODES] += change
            one.moment[_NODES] += change * offset

    def _standing(self) -> Counter[int]:
        """State -> jobs that are in it."""
        return Counter(known & 15 for known in self._jobs.values())

    @property
    def is_over(self) -> bool:
        """Whether every job has ended."""
        return all(known & 15 in _ENDED for known in self._jobs.values())

    def series(self, now_us: int, *, launchers: Sequence[Present] = (), title: str = "") -> Series:
        """What has been collected, until the last event, or until now if some job has not ended.

        Args:
            now_us: the time [us since 1970].
            launchers: those whose nodes are known.
            title: what it is of.
        """
        if self._first_us is None:
            return Series(launchers=tuple(launchers), title=title)
        start = self._first_us
        end = max(self._last_us if self.is_over else max(now_us, self._last_us), start + LEAST_US)
        self._bins.extend(end)
        edges = self._edges(start, end)
        seen = [state for state in _STATES if self._has(state)]
        return Series(
            edges=tuple(edge / 1e6 for edge in edges),
            jobs={State(state).name: tuple(self._bins.means(state, edges)) for state in seen},
            entered={State(state).name: tuple(self._entered(state)) for state in seen},
            nodes=tuple(self._bins.means(_NODES, edges)),
            stays={State(state).name: _stay(stays) for state, stays in self._stays.items() if stays.count},
            total=self._total,
            last={State(state).name: count for state, count in sorted(self._standing().items())},
            launchers=tuple(launchers),
            title=title,
        )

    def _edges(self, start: int, end: int) -> list[int]:
        bins = self._bins
        inner = [number * bins.width_us for number in range(bins.first + 1, bins.last + 1)]
        # One that lies on a border would have no width.
        return [start, *inner, max(end, inner[-1] + 1 if inner else start + 1)]

    def _has(self, state: int) -> bool:
        ones = (self._bins.get(number) for number in range(self._bins.first, self._bins.last + 1))
        return any(one is not None and (one.entered[state] or one.net[state] or one.moment[state]) for one in ones)

    def _entered(self, state: int) -> list[int]:
        ones = (self._bins.get(number) for number in range(self._bins.first, self._bins.last + 1))
        return [one.entered[state] if one is not None else 0 for one in ones]


def _one(_key: int) -> float:
    return 1.0


def _stay(stays: Durations) -> Stay:
    return Stay(stays.count, stays.mean, stays.quantile(0.1), stays.quantile(0.5), stays.quantile(0.9))
