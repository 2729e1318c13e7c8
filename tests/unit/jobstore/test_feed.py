"""Events of several job stores become one history without holes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from balsam.errors import Unavailable
from balsam_jobstore import feed as feeds
from balsam_jobstore.events import EventHub
from balsam_jobstore.feed import Feed
from balsam_jobstore.history import EventRecord


def events(first: int, last: int) -> list[EventRecord]:
    return [EventRecord(1, "a", "", (1,), 0, 1, 0, sequence=sequence) for sequence in range(first, last + 1)]


class Fed:
    """A feed into a ring, over a database of which the test says what it holds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, watchers: int) -> None:
        self.hub = EventHub(10)
        self.hub.watchers = watchers
        self.database: list[EventRecord] = []
        self.reads = 0
        self.is_away = False
        self.feed = Feed(self.hub, self._read)
        monkeypatch.setattr(feeds, "read_events", self._found)

    def _found(self, connection: object, wanted: object, after: int, limit: int) -> list[EventRecord]:
        return [event for event in self.database if event.sequence > after][:limit]

    async def _read(self, query: Callable[[Any], Any]) -> Any:
        self.reads += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable
        return query(None)

    def ring(self) -> list[int]:
        return [event.sequence for event in self.hub._ring]


def run(work: Awaitable[None]) -> None:
    async def wait() -> None:
        await work

    asyncio.run(wait())


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_others_have_written_is_read_once_and_put_before_what_came_after(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        fed = Fed(monkeypatch, watchers=2)
        fed.database = events(11, 16)
        fed.feed.publish(events(14, 16))  # ours, committed after 11 to 13 of others
        assert fed.hub.sequence == 10
        await settled()
        assert (fed.hub.sequence, fed.ring(), fed.reads) == (16, [11, 12, 13, 14, 15, 16], 1)
        fed.feed.seen(13)  # heard late
        await settled()
        assert (fed.hub.sequence, fed.reads) == (16, 1)

    run(story())


def test_what_was_heard_of_before_it_was_published_here_is_not_published_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        fed = Fed(monkeypatch, watchers=1)
        fed.feed.seen(12)
        fed.feed.publish(events(11, 11))
        assert fed.hub.sequence == 12
        fed.feed.publish(events(13, 14))
        assert (fed.hub.sequence, fed.ring()) == (14, [13, 14])

    run(story())


def test_for_one_subscriber_or_none_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        fed = Fed(monkeypatch, watchers=1)
        fed.feed.seen(20)
        fed.feed.publish(events(31, 32))
        await settled()
        assert (fed.hub.sequence, fed.ring(), fed.reads) == (32, [31, 32], 0)

    run(story())


def test_a_ring_has_no_hole_where_a_job_was_deleted_with_its_history(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        fed = Fed(monkeypatch, watchers=2)
        fed.database = [*events(11, 12), *events(15, 16)]
        fed.feed.seen(18)
        await settled()
        assert fed.hub.sequence == 18
        assert fed.hub.after(16) is None  # who wants these asks the database
        assert fed.hub.after(12) is None

    run(story())


def test_without_a_database_subscribers_are_left_to_look_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        fed = Fed(monkeypatch, watchers=2)
        fed.is_away = True
        fed.feed.seen(15)
        await settled()
        assert (fed.hub.sequence, fed.hub.after(10)) == (15, None)

    run(story())
