"""The threads that read: of these, one caller has a part at a time, so that nobody keeps all others waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from balsam.serving import Caller
from balsam_jobstore.rows import OWNER_KEY

T = TypeVar("T")


class Readers:
    """A pool of threads, used in one loop. The owner of the site, as whom its services call, may have
    all of it; of any other, all their reads together a half.

    Args:
        threads: how many.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")
        self._each = max(1, threads // 2)
        self._turns: dict[int, asyncio.Semaphore] = {}
        self._wanted: Counter[int] = Counter()
        """User key -> reads that wait or are under way."""

    async def run(self, read: Callable[[], T], caller: Caller | None) -> T:
        """Runs a read when it is its caller's turn; None: nobody has called."""
        if caller is None or caller.user_key == OWNER_KEY:
            return await asyncio.wrap_future(self._pool.submit(read))
        turn = self._turns.setdefault(caller.user_key, asyncio.Semaphore(self._each))
        self._wanted[caller.user_key] += 1
        try:
            await turn.acquire()
        except BaseException:
            self._done(caller.user_key)
            raise
        future = self._pool.submit(read)
        self._give_back_after(future, turn, caller.user_key)
        return await asyncio.wrap_future(future)

    def _give_back_after(self, future: Future[T], turn: asyncio.Semaphore, user_key: int) -> None:
        """A read goes on in its thread when its caller has gone away; the turn is over when the thread is free."""
        loop = asyncio.get_running_loop()

        def give_back() -> None:
            turn.release()
            self._done(user_key)

        def ended(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for a turn
                loop.call_soon_threadsafe(give_back)

        future.add_done_callback(ended)

    def _done(self, user_key: int) -> None:
        self._wanted[user_key] -= 1
        if not self._wanted[user_key]:
            del self._wanted[user_key], self._turns[user_key]

    def stop(self) -> None:
        """Reads that have not begun are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)
