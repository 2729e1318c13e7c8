"""What is true now, for all browsers: one stream of events, counted once, told four times a second at most.

While nothing happens and nobody looks, nothing is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from balsam.client import Client
from balsam.errors import BalsamError
from balsam.site import Site as SiteOnDisk
from balsam.states import State
from balsam.v1 import event_pb2
from balsam_web.asking import Site
from balsam_web.history import History, Meter
from balsam_web.launchers import Launchers
from balsam_web.listening import Listener
from balsam_web.past import look_back
from balsam_web.records import Record

MOST_OFTEN = 0.25
"""Seconds between two messages, however fast events come."""
_UNSEEN_SECONDS = 1.0
"""The same while nobody looks, for the history."""
_LAUNCHERS_SECONDS = 2.0
"""Launchers are asked for so often, while something happens; they come and go without events."""
_IDLE_SECONDS = 10.0
"""While nothing does, but somebody looks."""
_MOST_CHANGED = 20_000
"""Jobs that are told apart between two messages; beyond, each counts as changed."""


class _News:
    """What the stream has said since the last time. Written by its thread, taken by the loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered: Counter[int] = Counter()
        self._changed: set[str] = set()

    def add(self, events: Sequence[event_pb2.Event]) -> None:
        with self._lock:
            for event in events:
                self._entered.update(event.states)
                if len(self._changed) <= _MOST_CHANGED:
                    self._changed.add(event.job_id)

    def take(self) -> tuple[dict[str, int], set[str]]:
        """Name of a state -> how many jobs entered it; and the jobs."""
        with self._lock:
            entered, changed = self._entered, self._changed
            self._entered, self._changed = Counter(), set()
        return {State(state).name: number for state, number in entered.items()}, changed


class Subscriber:
    """One browser, and the job that it looks at (empty: none)."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._woken = asyncio.Event()
        self._message: Record = {}
        self._changed = self._moved = False

    def tell(self, message: Record, changed: set[str]) -> None:
        """The newest takes the place of what was not fetched yet."""
        self._message = message
        self._changed |= self._job_id in changed or len(changed) > _MOST_CHANGED
        self._moved |= bool(changed)
        self._woken.set()

    async def next(self, timeout: float) -> Record | None:
        """The next message; None: there was none within so many seconds."""
        try:
            await asyncio.wait_for(self._woken.wait(), timeout)
        except TimeoutError:
            return None
        self._woken.clear()
        more = {"job_changed": self._changed, "moved": self._moved}
        self._changed = self._moved = False
        return self._message | more


class Board:
    """Listens, counts and tells.

    Args:
        site: where.
        clock: the time [s since 1970].
    """

    def __init__(self, site: SiteOnDisk, clock: Callable[[], float] = time.time) -> None:
        # A line of its own, which says at once when the job store is away.
        client = Client(site, retry_seconds=0)
        self._site, self._asked = Site(client), Launchers(client)
        self._clock = clock
        self.history = History()
        self.closed = False
        """Nothing more comes."""
        self._meter = Meter()
        self._news = _News()
        self._woken: asyncio.Event = asyncio.Event()
        self._subscribers: set[Subscriber] = set()
        self._counts: dict[str, int] = {}
        self.launchers: list[Record] = []
        """Those at work."""
        self._launchers_time = 0.0
        self._problem = ""
        self._sequence: int | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works inside the block."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._woken.set)

        def heard(events: Sequence[event_pb2.Event], sequence: int) -> None:
            self._news.add(events)
            self._sequence = sequence if self._sequence is None else self._sequence
            wake()

        listener = Listener(self._site.client, heard, lambda _: wake())
        listener.start()
        task = asyncio.create_task(self._work())
        try:
            yield
        finally:
            self.close()
            listener.close()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._asked.close()
            self._site.client.close()

    def now(self) -> float:
        """The time by its clock [s since 1970]."""
        return self._clock()

    def close(self) -> None:
        """Ends the streams of all browsers."""
        self.closed = True
        for one in self._subscribers:
            one.tell({}, set())

    @contextlib.contextmanager
    def subscribed(self, job_id: str = "") -> Iterator[Subscriber]:
        """A browser is told of news inside the block, and of how things stand at its begin."""
        one = Subscriber(job_id)
        self._subscribers.add(one)
        if self._launchers_time or self._problem:
            one.tell(self._message(), set())
        self._woken.set()
        try:
            yield one
        finally:
            self._subscribers.discard(one)

    async def _work(self) -> None:
        await self._look()
        look_back = asyncio.create_task(self._look_back())
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), self._patience())
                self._woken.clear()
                await self._look()
                await asyncio.sleep(MOST_OFTEN if self._subscribers else _UNSEEN_SECONDS)
        finally:
            look_back.cancel()

    def _patience(self) -> float | None:
        """How long to wait for an event [s]; None: for ever."""
        if self._problem or self._meter.moves:
            return 1.0
        return _IDLE_SECONDS if self._subscribers else None

    async def _look(self) -> None:
        entered, changed = self._news.take()
        now = self._clock()
        self._meter.add(now, entered)
        try:
            self._counts = await asyncio.to_thread(self._site.counts)
            if now - self._launchers_time >= _LAUNCHERS_SECONDS:
                self.launchers = await asyncio.to_thread(self._asked.at_work)
                self._launchers_time = now
            self._problem = ""
        except BalsamError as error:
            self._problem = str(error)
        else:
            self.history.add(now, self._counts, entered, *self._nodes())
        for one in self._subscribers:
            one.tell(self._message(), changed)

    async def _look_back(self) -> None:
        """Adds what happened before to the history."""
        while self._sequence is None:
            await asyncio.sleep(MOST_OFTEN)
        sequence, counts = self._sequence, dict(self._counts)
        try:
            events = await asyncio.to_thread(lambda: list(self._site.past(sequence)))
        except BalsamError:
            return  # the page begins with what happens from now on
        self.history.put_before(*await asyncio.to_thread(look_back, events, counts))
        self._woken.set()

    def _nodes(self) -> tuple[float, float]:
        return sum(one["nodes"] for one in self.launchers), round(sum(one["busy"] for one in self.launchers), 2)

    def _message(self) -> Record:
        now = self._clock()
        nodes, busy = self._nodes()
        return {
            "time": now,
            "counts": self._counts,
            "rates": self._meter.rates(now),
            "nodes": nodes,
            "busy": busy,
            "launchers": len(self.launchers),
            "problem": self._problem,
            "last": self.history.last(now),
        }
