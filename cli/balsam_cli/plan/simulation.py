"""Jobs through launches, as launchers take them: the first in their order, and what does not fit holds up the rest.

Pure, and quick: jobs that are alike start and end together, and where they are many more than there is room for, each
place takes several, one after the other, at one step. So a million jobs take some thousand steps.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from balsam_cli.plan.work import Kind, Work

_EPSILON = 1e-9
_STEPS = 64  # so many times the room is filled, at most, for jobs that are alike
MOST_LAUNCHES = 1000


class Order(Enum):
    """Which of the jobs that are alike start first: nobody knows how long each will take."""

    LONGEST_FIRST = "longest first"
    MIXED = "mixed"
    SHORTEST_FIRST = "shortest first"


@dataclass(frozen=True)
class Launches:
    """Launches, one after the other, as many as are needed.

    Attributes:
        nodes: of each.
        seconds: how long its launcher works; None: without a limit.
        wait_seconds: in the queue, before each.
        job_mode: of their launchers.
    """

    nodes: int
    seconds: float | None = None
    wait_seconds: float = 0.0
    job_mode: str = "auto"


@dataclass
class Outcome:
    """What became of it.

    Attributes:
        seconds: until the last run has ended.
        launches: how many there were.
        node_seconds: nodes of the launches times how long they lasted.
        busy_node_seconds: of these, how much was used by runs.
        never: jobs that never fit, or wait for such.
        is_cut: after `MOST_LAUNCHES` it was not yet over.
    """

    seconds: float = 0.0
    launches: int = 0
    node_seconds: float = 0.0
    busy_node_seconds: float = 0.0
    never: int = 0
    is_cut: bool = False


def simulate(
    work: Work,
    lengths: Mapping[Kind, Sequence[float]],
    launches: Launches,
    *,
    order: Order = Order.MIXED,
    share_to_go: float = 0.5,
    in_phases: bool = False,
) -> Outcome:
    """Runs all that is to be done.

    Args:
        work: the jobs.
        lengths: how long runs of each kind take [s]: equal shares of them each so long, rising.
        launches: where they run.
        order: of jobs that are alike.
        share_to_go: of its length a job that runs now still takes so much, 0 to 1, wherever it runs.
        in_phases: jobs of `Work.later` begin when all others have ended; False: with them.
    """
    return _Simulation(work, lengths, launches, order, share_to_go, in_phases).run()


@dataclass(order=True)
class _Run:
    """Runs that end together, or a place in which several ran one after the other."""

    end: float
    number: int
    width: float
    tasks: list[int]


class _Queue:
    """Jobs of one kind that are ready: those that others wait for by their places, of the others how many are left
    of each length."""

    def __init__(self, kind: Kind, lengths: Sequence[float], width: float, order: Order) -> None:
        self.kind = kind
        self.lengths = lengths
        self.width = width
        self.tasks: deque[int] = deque()
        self.left = [0] * len(lengths)
        self._order = order

    def add(self, count: int) -> None:
        """Adds jobs, an equal share of each length."""
        share, rest = divmod(count, len(self.lengths))
        for place in range(len(self.left)):
            # The middle ones first: a single job has the median length.
            middle = (place + len(self.left) // 2) % len(self.left)
            self.left[middle] += share + (place < rest)

    @property
    def count(self) -> int:
        """Jobs, tasks not counted."""
        return sum(self.left)

    def pick(self, room: int, longest_row: float, slots: int) -> list[tuple[float, int]]:
        """Takes jobs for so many places.

        Args:
            room: places that are free.
            longest_row: so long after now the last job of a place must have begun [s].
            slots: places that there are in all.

        Returns:
            How long places are taken [s], and how many.
        """
        each = max(1, self.count // (slots * _STEPS))
        picked = []
        for place, places in self._shared(room, each):
            length = self.lengths[place]
            row = each if length <= 0 else 1 + int(min(longest_row / length, each - 1))
            jobs = min(self.left[place], places * row)
            full, rest = divmod(jobs, row)
            self.left[place] -= jobs
            if full:
                picked.append((row * length, full))
            if rest:
                picked.append((rest * length, 1))
        return picked

    def _shared(self, room: int, each: int) -> list[tuple[int, int]]:
        """Length, by its place -> how many places its jobs get."""
        total = self.count
        order = range(len(self.left)) if self._order is not Order.LONGEST_FIRST else range(len(self.left) - 1, -1, -1)
        shares: list[tuple[int, int]] = []
        left = room
        if self._order is Order.MIXED and room >= len(self.left):
            for place in order:
                share = min(math.ceil(self.left[place] / each), room * self.left[place] // total)
                if share:
                    shares.append((place, share))
                    left -= share
        given = Counter(dict(shares))
        if self._order is Order.MIXED:
            order = sorted(order, key=lambda place: -self.left[place])  # type: ignore[assignment]
        for place in order:
            more = min(math.ceil(self.left[place] / each) - given[place], left)
            if more > 0:
                given[place] += more
                left -= more
        return [(place, places) for place, places in given.items() if places]


class _Simulation:
    def __init__(
        self,
        work: Work,
        lengths: Mapping[Kind, Sequence[float]],
        launches: Launches,
        order: Order,
        share_to_go: float,
        in_phases: bool,
    ) -> None:
        self._work = work
        self._lengths = lengths
        self._launches = launches
        self._numbers = itertools.count()
        self._unmet = [task.unmet for task in work.tasks]
        self._done = [False] * len(work.tasks)
        self._elsewhere: list[tuple[float, int]] = []
        """What runs now: when it ends, and the task."""
        self._runs: list[_Run] = []
        self._outcome = Outcome()
        self._free = float(launches.nodes)
        self._later = dict(work.later) if in_phases else {}
        kinds = sorted(work.kinds())
        self._queues = {
            kind: _Queue(kind, lengths[kind], kind.width(launches.job_mode), order)
            for kind in kinds
            if self._fits(kind)
        }
        for kind, count in work.ready.items():
            self._add(kind, count)
        if not in_phases:
            for kind, count in work.later.items():
                self._add(kind, count)
        self._begin(share_to_go)

    def _fits(self, kind: Kind) -> bool:
        launches = self._launches
        right_mode = kind.serial or launches.job_mode != "serial"
        in_time = launches.seconds is None or kind.wall_minutes * 60 <= launches.seconds
        return right_mode and in_time and kind.nodes <= launches.nodes

    def _add(self, kind: Kind, count: int) -> None:
        if kind in self._queues:
            self._queues[kind].add(count)
        else:
            self._outcome.never += count

    def _begin(self, share_to_go: float) -> None:
        for kind in self._work.running:
            self._outcome.seconds = max(self._outcome.seconds, share_to_go * max(self._lengths[kind]))
        for place, task in enumerate(self._work.tasks):
            if task.state == "RUNNING":
                lengths = self._lengths[task.kind]
                heapq.heappush(self._elsewhere, (share_to_go * lengths[place % len(lengths)], place))
            elif not task.unmet:
                self._make_ready(place)

    def _make_ready(self, place: int) -> None:
        queue = self._queues.get(self._work.tasks[place].kind)
        if queue is not None:
            queue.tasks.append(place)

    # Time

    def run(self) -> Outcome:
        """Launch after launch, until nothing is left that could run."""
        outcome, now = self._outcome, 0.0
        while outcome.launches < MOST_LAUNCHES and self._has_work():
            begun = self._left()
            start = now + self._launches.wait_seconds
            now = self._launch(start)
            outcome.node_seconds += (now - start) * self._launches.nodes
            if self._left() != begun:
                outcome.launches += 1
            elif self._elsewhere:
                now = max(now, self._elsewhere[0][0])  # nothing can start before that has ended
            else:
                break
        outcome.is_cut = outcome.launches == MOST_LAUNCHES and self._has_work()
        self._finish_elsewhere(math.inf)  # and its children, which nobody runs, are left
        left = sum(not done for done in self._done) + sum(self._later.values())
        outcome.never += left + sum(queue.count for queue in self._queues.values())
        return outcome

    def _has_work(self) -> bool:
        ready = any(queue.count or queue.tasks for queue in self._queues.values())
        return ready or bool(self._elsewhere and self._waits()) or bool(self._later)

    def _waits(self) -> bool:
        return any(self._unmet[child] for _, place in self._elsewhere for child in self._work.tasks[place].children)

    def _left(self) -> tuple[int, int]:
        return sum(queue.count for queue in self._queues.values()), sum(self._done)

    def _launch(self, start: float) -> float:
        """One launch, from when it gets its nodes. Returns when it is over."""
        now, seconds = start, self._launches.seconds
        end = math.inf if seconds is None else start + seconds
        self._free = float(self._launches.nodes)
        while True:
            self._finish_elsewhere(now)
            self._start(now, end)
            if not self._runs:
                if not (self._elsewhere and self._waits() and self._elsewhere[0][0] < end):
                    if self._later and not any(queue.count or queue.tasks for queue in self._queues.values()):
                        self._begin_later()
                        continue
                    return now
                now = self._elsewhere[0][0]
                continue
            ends = self._runs[0].end
            if self._elsewhere and self._elsewhere[0][0] < ends:
                now = self._elsewhere[0][0]
                continue
            now = ends
            self._finish(now)

    def _begin_later(self) -> None:
        later, self._later = self._later, {}
        for kind, count in later.items():
            self._add(kind, count)

    def _start(self, now: float, end: float) -> None:
        for queue in self._queues.values():
            if not (queue.tasks or queue.count):
                continue
            last_begin = end - now - 60 * queue.kind.wall_minutes
            if last_begin < 0:
                continue  # it does not fit into the time that is left, and holds up nobody
            room = int((self._free + _EPSILON) / queue.width)
            if room:
                room -= self._start_tasks(queue, room, now)
            slots = max(1, int((self._launches.nodes + _EPSILON) / queue.width))
            while room > 0 and queue.count:
                for taken, places in queue.pick(room, last_begin, slots):
                    self._push(now + taken, places * queue.width, [])
                    self._outcome.busy_node_seconds += places * queue.width * taken
                    room -= places
            if queue.tasks or queue.count:
                return  # nothing smaller goes before it

    def _start_tasks(self, queue: _Queue, room: int, now: float) -> int:
        """Returns how many were started."""
        by_length: dict[int, list[int]] = defaultdict(list)
        started = min(room, len(queue.tasks))
        for _ in range(started):
            place = queue.tasks.popleft()
            by_length[place % len(queue.lengths)].append(place)
        for which, tasks in by_length.items():
            length = queue.lengths[which]
            self._push(now + length, len(tasks) * queue.width, tasks)
            self._outcome.busy_node_seconds += len(tasks) * queue.width * length
        return started

    def _push(self, end: float, width: float, tasks: list[int]) -> None:
        self._free -= width
        heapq.heappush(self._runs, _Run(end, next(self._numbers), width, tasks))

    def _finish(self, now: float) -> None:
        self._outcome.seconds = max(self._outcome.seconds, now)
        while self._runs and self._runs[0].end <= now + _EPSILON:
            run = heapq.heappop(self._runs)
            self._free += run.width
            for place in run.tasks:
                self._release(place)

    def _finish_elsewhere(self, now: float) -> None:
        while self._elsewhere and self._elsewhere[0][0] <= now:
            ended, place = heapq.heappop(self._elsewhere)
            self._outcome.seconds = max(self._outcome.seconds, ended)
            self._release(place)

    def _release(self, place: int) -> None:
        self._done[place] = True
        for child in self._work.tasks[place].children:
            self._unmet[child] -= 1
            if not self._unmet[child]:
                self._make_ready(child)
