"""The events of several job stores, in order: our own as they are committed, those of others from the database.

A notification says only how far the history goes. Whether what others have written is read at all depends on who
watches here: one subscriber reads what it wants itself, several have it read once, for all of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from balsam.errors import BalsamError
from balsam_jobstore.events import EventFilter, EventHub, read_events
from balsam_jobstore.history import EventRecord

log = logging.getLogger("balsam.jobstore")

_AT_ONCE = 2000
_FEW = 1
_EVERYTHING = EventFilter()


class Feed:
    """Puts events into the ring. Lives in the loop.

    Args:
        hub: the ring.
        read: runs a query.
    """

    def __init__(self, hub: EventHub, read: Callable[[Callable[[sa.Connection], Any]], Awaitable[Any]]) -> None:
        self._hub = hub
        self._read = read
        self._own: dict[int, Sequence[EventRecord]] = {}
        """First sequence -> what was committed here, and has to wait for what others have committed before."""
        self._target = 0
        self._task: asyncio.Task[None] | None = None

    def publish(self, events: Sequence[EventRecord]) -> None:
        """Takes what was committed here."""
        if not events:
            return
        self._own[events[0].sequence] = events
        self.seen(events[-1].sequence)

    def seen(self, sequence: int) -> None:
        """There are events up to `sequence`, all of them committed."""
        self._target = max(self._target, sequence)
        self._publish_own()
        if self._hub.sequence >= self._target:
            return
        if self._hub.watchers <= _FEW:
            for first in sorted(self._own):
                if first > self._hub.sequence:
                    self._hub.publish(self._own[first])
            self._own.clear()
            self._hub.catch_up(self._target)
        elif self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._read_on())
            self._task.add_done_callback(self._done)

    def _publish_own(self) -> None:
        while self._own:
            first = min(self._own)
            if first > self._hub.sequence + 1:
                return
            events = self._own.pop(first)
            if first == self._hub.sequence + 1:
                self._hub.publish(events)

    async def _read_on(self) -> None:
        while self._hub.sequence < self._target:
            upto = min([self._target, *(first - 1 for first in self._own)])
            start = self._hub.sequence
            try:
                found = await self._read(
                    lambda connection, start=start: read_events(connection, _EVERYTHING, start, _AT_ONCE)  # type: ignore[misc]
                )
            except BalsamError as error:
                log.warning("cannot read the events of other job stores: %s", error)
                found = []  # each subscriber tries for itself
            if len(found) == _AT_ONCE:
                upto = min(upto, found[-1].sequence)
            for run in _runs([event for event in found if self._hub.sequence < event.sequence <= upto]):
                self._hub.publish(run)
            self._hub.catch_up(upto)
            self._publish_own()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and task.exception() is not None:
            log.error("events of other job stores were not read: %s", task.exception())
            self._hub.catch_up(self._target)


def _runs(events: Sequence[EventRecord]) -> Iterator[list[EventRecord]]:
    """Events without holes between: those of deleted jobs are gone."""
    run: list[EventRecord] = []
    for event in events:
        if run and event.sequence != run[-1].sequence + 1:
            yield run
            run = []
        run.append(event)
    if run:
        yield run
