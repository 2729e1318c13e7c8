"""What to submit for the work that waits, and why; what not, and why not. Pure: no clock, no I/O, no chance.

The largest jobs come first, in the order in which launchers take them. What open launches have room for is theirs;
for the rest one launch after the other is chosen, each for the largest job that is left and whatever else it has time
for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from balsam.patterns import matches
from balsam_scheduler.batch import lost, stuck
from balsam_scheduler.batch.breaker import Breaker, breakers, remember
from balsam_scheduler.batch.covering import cover_by_idle_launchers, cover_by_launches
from balsam_scheduler.batch.nodes import Nodes
from balsam_scheduler.batch.policy import Policy, Queue
from balsam_scheduler.batch.reasons import WAITS, bound_to, clock, why_never
from balsam_scheduler.batch.scene import Launch, Memory, Scene
from balsam_scheduler.batch.sizing import Room, Size, Wanted, size
from balsam_scheduler.batch.usage import Usage
from balsam_scheduler.batch.waiting import Verdict, Waiting
from balsam_scheduler.batch.work import Shape, Work, counted

_MOST_KINDS = 500
"""A launch is sized for so many kinds of jobs, the largest: the time that takes rises with their square."""


@dataclass(frozen=True)
class Planned:
    """A launch to be submitted.

    Attributes:
        jobs: how many of the waiting jobs it finishes, by their estimates.
        largest: what it was chosen for.
        why: for people.
    """

    queue: Queue
    nodes: int
    minutes: int
    jobs: int
    largest: Work
    why: str


@dataclass(frozen=True)
class Plan:
    """The outcome. Each waiting job is in one of the launches or in one of the verdicts.

    Attributes:
        open: how many launches are open already.
        notes: what people should know of launches, whether jobs wait for them or not.
        lost: launches to be cancelled: their launcher is gone, and they still have nodes.
    """

    launches: tuple[Planned, ...]
    verdicts: tuple[Verdict, ...]
    breakers: Mapping[str, Breaker]
    memory: Memory
    open: int
    notes: tuple[str, ...] = ()
    lost: tuple[Launch, ...] = ()


def plan(policy: Policy, scene: Scene) -> Plan:
    """Decides. The same policy and scene give the same plan."""
    return _Planner(policy, scene).plan()


@dataclass(frozen=True)
class _Block:
    """Why a queue has no launch for a job now; `everywhere`: what is short is short for all queues; `in_vain`: it does
    not pass by itself, so nobody is to wait for it."""

    why: str
    everywhere: bool = False
    in_vain: bool = False


class _Planner:
    def __init__(self, policy: Policy, scene: Scene) -> None:
        self._policy = policy
        self._memory = replace(remember(scene), last_seen=lost.last_seen(scene))
        self._scene = scene = replace(scene, launches=lost.marked(policy, scene, self._memory.last_seen))
        self._nodes = Nodes(scene.cores_per_node, scene.gpus_per_node, tuple(self._memory.reports.values()))
        self._breakers = breakers(policy, scene.launches, self._memory.failed)
        self._usage = Usage(policy, scene.launches, scene.now)
        self._waiting = Waiting(scene.work)
        self._launches: list[Planned] = []
        self._held: dict[str, str] = {}
        """Queue -> why nothing smaller is submitted there."""

    def plan(self) -> Plan:
        waiting = self._waiting
        idle_since = cover_by_idle_launchers(self._scene, waiting, self._policy.idle_minutes)
        cover_by_launches(self._scene, waiting, self._nodes, self._policy.queues)
        for work in waiting.kinds(lambda work: work.launch is not None):
            waiting.settle(work, f"bound to {bound_to(work, self._scene)}")
        small_since = self._submit()
        for work in waiting.kinds(lambda work: work.waits):
            waiting.settle(work, WAITS)
        memory = replace(self._memory, idle_since=idle_since, small_since=small_since)
        is_open = sum(launch.open for launch in self._scene.launches)
        gone = [launch for launch in self._scene.launches if launch.lost is not None]
        in_vain = [launch for launch in self._scene.launches if launch.open and launch.in_vain]
        notes = (*(lost.text(launch) for launch in gone), *(stuck.text(launch) for launch in in_vain))
        launches, verdicts = tuple(self._launches), tuple(waiting.verdicts)
        return Plan(launches, verdicts, self._breakers, memory, is_open, notes, tuple(gone))

    # What is to come

    def _submit(self) -> float | None:
        """Plans launches until nothing is left that can have one. Gives since when there has been too little work."""
        small_since = None
        for first in self._waiting.kinds(lambda work: not work.waits):
            while self._waiting.left[first] and (choice := self._choose(first)):
                queue, chosen = choice
                if why := self._why_small(chosen):
                    small_since = self._small_since
                    self._share_out(queue, first, chosen, functools.partial(self._waiting.settle, why=why))
                else:
                    self._add(queue, first, chosen)
        return small_since

    @property
    def _small_since(self) -> float:
        since = self._memory.small_since
        return self._scene.now if since is None else since

    def _why_small(self, chosen: Size) -> str:
        """Why a launch is not worth while yet; empty: it is."""
        least, until = self._policy.least_node_minutes, self._small_since + 60 * self._policy.least_work_wait_minutes
        if chosen.node_minutes >= least or self._scene.now >= until:
            return ""
        return f"a launch begins at {least:g} node-minutes of work (least_node_minutes), or at {clock(until)}"

    def _share_out(self, queue: Queue, first: Work, chosen: Size, give: Callable[..., None]) -> None:
        """Calls `give` with the jobs, other than children, that a launch has room for."""
        for work, jobs in zip(self._wanted(queue, first), chosen.placed, strict=True):
            if jobs and not work.waits:
                give(work, jobs=jobs)

    def _add(self, queue: Queue, first: Work, chosen: Size) -> None:
        before = sum(self._waiting.left.values())
        self._share_out(queue, first, chosen, self._waiting.give)
        jobs = before - sum(self._waiting.left.values())
        why = (
            f"room for {counted(jobs, 'job')} of {chosen.node_minutes:g} node-minutes, the largest of "
            f"{first.shape.text}"
        )
        self._launches.append(Planned(queue, chosen.nodes, chosen.minutes, jobs, first, why))
        self._usage.add(queue, chosen.nodes, chosen.minutes)

    def _choose(self, first: Work) -> tuple[Queue, Size] | None:
        """The queue and size of the launch that does most of the work, this first; settles it where there is none."""
        best: tuple[Queue, Size] | None = None
        blocked: dict[str, _Block] = {}
        for queue in self._policy.queues:
            if not self._may_run(queue, first):
                continue
            if self._best_size(queue, self._usage.whole(queue), [(first.shape, 1)]) is None:
                continue  # it could never
            found = self._size_now(queue, first)
            if isinstance(found, _Block):
                blocked[queue.name] = found
            elif best is None or found.node_minutes > best[1].node_minutes:
                best = (queue, found)
        if best is None:
            self._refuse(first, blocked)
        return best

    def _size_now(self, queue: Queue, first: Work) -> Size | _Block:
        """The launch that a queue may have now, or why it may have none for this."""
        if why := self._why_not_now(queue):
            return _Block(why)
        room, in_vain = self._usage.left(queue), stuck.in_queue(self._scene.launches, queue)
        smaller = stuck.smaller(room, in_vain)
        found = self._best_size(queue, smaller, self._shapes(queue, first)) if smaller is not None else None
        if found is not None:
            return found
        if in_vain and self._best_size(queue, room, [(first.shape, 1)]) is not None:
            return _Block("; ".join(stuck.text(launch) for launch in in_vain), in_vain=True)
        if self._best_size(queue, replace(room, node_minutes=None), [(first.shape, 1)]) is None:
            return _Block(self._usage.why_nodes(queue))
        return _Block(self._usage.why_hours(), everywhere=True)

    def _refuse(self, first: Work, blocked: Mapping[str, _Block]) -> None:
        if not blocked:
            why = why_never(self._policy, first.shape, first.workflow, self._scene.spare_minutes, self._nodes)
            self._waiting.settle(first, why or self._usage.why_total(), never=True)
            return
        self._waiting.settle(first, "; ".join(dict.fromkeys(block.why for block in blocked.values())))
        # What is smaller must not take again and again what becomes free, or this would never start.
        everywhere = any(block.everywhere for block in blocked.values())
        waited_for = [name for name, block in blocked.items() if not block.in_vain]
        for name in [queue.name for queue in self._policy.queues] if everywhere else waited_for:
            self._held.setdefault(name, f"jobs of {first.shape.text} come first")

    def _why_not_now(self, queue: Queue) -> str:
        """Why no launch at all is submitted to a queue now; empty: one may be."""
        breaker = self._breakers.get(queue.name)
        if breaker is not None:
            failed = f"{queue.label}: {breaker.text}"
            if self._scene.now < breaker.until:
                return f"{failed}; the next is tried at {clock(breaker.until)}"
            if self._usage.open_in(queue):
                return f"{failed}; one at a time until one succeeds"
        return self._usage.why_none(queue) or self._held.get(queue.name, "")

    def _best_size(self, queue: Queue, room: Room, wanted: Wanted) -> Size | None:
        sizes = [size(band, room, wanted, self._scene.spare_minutes, queue.job_mode) for band in queue.bands]
        found = [one for one in sizes if one is not None]
        # Of bands that do the same work, the one that costs least; of these the first.
        return min(found, key=lambda one: (-one.node_minutes, one.nodes * one.minutes), default=None)

    def _may_run(self, queue: Queue, work: Work) -> bool:
        """Whether launches of a queue may take these jobs, and have nodes for them, as far as is known."""
        if queue.wf_filter and not matches(work.workflow, queue.wf_filter):
            return False
        return not self._nodes.lacks(queue, work.shape)

    def _wanted(self, queue: Queue, first: Work) -> list[Work]:
        """What a launch of a queue could run: this first, and children last."""
        works = self._waiting.kinds(lambda work: self._may_run(queue, work))
        return sorted(works, key=lambda work: (work is not first, work.waits))[:_MOST_KINDS]

    def _shapes(self, queue: Queue, first: Work) -> list[tuple[Shape, int]]:
        share = self._policy.children_share
        works = self._wanted(queue, first)
        return [
            (work.shape, int(self._waiting.left[work] * share) if work.waits else self._waiting.left[work])
            for work in works
        ]
