"""How much of what the policy allows is in use. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from balsam_scheduler.batch.policy import Policy, Queue
from balsam_scheduler.batch.scene import Launch
from balsam_scheduler.batch.sizing import Room
from balsam_scheduler.batch.work import counted

_DAY_SECONDS = 24 * 3600


class Usage:
    """Counts launches, nodes and node-hours.

    Node-hours are those asked for, used or not: what a launch was charged is known to the batch system only. One that
    was not accepted asked for none.
    """

    def __init__(self, policy: Policy, launches: Iterable[Launch], now: float) -> None:
        self._policy = policy
        self._launches: dict[str, int] = {}
        self._nodes: dict[str, int] = {}
        self._today = self._total = 0
        for launch in launches:
            if launch.open:
                self._count(launch.queue, launch.nodes)
            if launch.from_balsam and launch.accepted and launch.state != "SUBMIT_FAILED":
                self._total += launch.node_minutes
                self._today += launch.node_minutes * (launch.create_time > now - _DAY_SECONDS)

    def add(self, queue: Queue, nodes: int, minutes: int) -> None:
        """Counts a launch that is going to be submitted."""
        self._count(queue.name, nodes)
        self._today += nodes * minutes
        self._total += nodes * minutes

    def _count(self, queue: str, nodes: int) -> None:
        self._launches[queue] = self._launches.get(queue, 0) + 1
        self._nodes[queue] = self._nodes.get(queue, 0) + nodes

    def open_in(self, queue: Queue) -> int:
        """How many launches of a queue are open."""
        return self._launches.get(queue.name, 0)

    def why_none(self, queue: Queue) -> str:
        """Why the numbers of launches forbid one more; empty: they allow it."""
        everywhere = sum(self._launches.values())
        if everywhere >= self._policy.max_launches:
            return f"{_are_open(everywhere)}, and the policy allows {self._policy.max_launches} (max_launches)"
        if self.open_in(queue) >= queue.max_launches:
            there = _are_open(self.open_in(queue))
            return f"{queue.label}: {there}, and it may have {queue.max_launches} (max_launches)"
        return ""

    def left(self, queue: Queue) -> Room:
        """What is left for one launch more in a queue."""
        nodes = max(0, queue.max_nodes - self._nodes.get(queue.name, 0)) if queue.max_nodes else None
        return Room(nodes, self._node_minutes_left())

    def whole(self, queue: Queue) -> Room:
        """What a launch could have while nothing is in use. Of the total of node-hours nothing comes back."""
        return Room(queue.max_nodes or None, _least(_minutes(self._policy.node_hours_per_day), self._total_left()))

    def why_nodes(self, queue: Queue) -> str:
        """How many of its nodes a queue has in use."""
        used = self._nodes.get(queue.name, 0)
        return f"{queue.label}: {used} of {counted(queue.max_nodes, 'node')} are in use (max_nodes)"

    def why_hours(self) -> str:
        """How many of a day's node-hours are gone."""
        most = self._policy.node_hours_per_day
        return f"{self._today / 60:g} of {most:g} node-hours were asked for within 24 hours (node_hours_per_day)"

    def why_total(self) -> str:
        """How many of all node-hours are gone."""
        return f"{self._total / 60:g} of {self._policy.node_hours_total:g} node-hours were asked for (node_hours_total)"

    def _node_minutes_left(self) -> int | None:
        day = _minutes(self._policy.node_hours_per_day)
        return _least(None if day is None else max(0, day - self._today), self._total_left())

    def _total_left(self) -> int | None:
        total = _minutes(self._policy.node_hours_total)
        return None if total is None else max(0, total - self._total)


def _minutes(hours: float) -> int | None:
    return int(hours * 60) if hours else None


def _least(*values: int | None) -> int | None:
    return min((value for value in values if value is not None), default=None)


def _are_open(number: int) -> str:
    return f"{counted(number, 'launch')} {'is' if number == 1 else 'are'} open"
