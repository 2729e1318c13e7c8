"""Reads of many callers share a few threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from balsam.serving import Caller
from balsam_jobstore.readers import Readers

OWNER = Caller("ada", "owner")
ANN, BOB = Caller("ann", "viewer", user_key=2), Caller("bob", "member", user_key=3)


def test_one_caller_has_half_of_the_threads_and_the_others_go_on() -> None:
    gate = threading.Event()

    async def main() -> None:
        readers = Readers(4)
        slow = [asyncio.ensure_future(readers.run(gate.wait, ANN)) for _ in range(100)]
        await asyncio.sleep(0)
        fast = [asyncio.wait_for(readers.run(lambda: 1, caller), 10) for caller in (BOB, OWNER, None, BOB)]
        assert await asyncio.gather(*fast) == [1, 1, 1, 1]
        assert not any(one.done() for one in slow)
        gate.set()
        assert all(await asyncio.gather(*slow))
        readers.stop()

    asyncio.run(main())


def test_a_turn_is_over_when_the_thread_is_free_and_not_when_the_caller_is_gone() -> None:
    gate, under_way = threading.Event(), []

    def read() -> None:
        under_way.append(1)
        gate.wait()

    async def main() -> None:
        readers = Readers(4)
        for _ in range(10):
            gone = asyncio.ensure_future(readers.run(read, ANN))
            await asyncio.sleep(0.01)
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone
        assert len(under_way) == 2
        gate.set()
        assert await asyncio.wait_for(readers.run(lambda: 1, ANN), 10) == 1
        assert len(under_way) == 2  # who has gone before their turn is forgotten
        readers.stop()

    asyncio.run(main())
