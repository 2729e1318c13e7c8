"""What calls hold until their last message has come: of bytes there are so many for each caller, and for all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from balsam.errors import ResourceExhausted
from balsam.rpc import BUSY
from balsam.serving import CALLER
from balsam_jobstore.access import OWNER

MIB = 1024 * 1024
MOST_OF_ONE = 64 * MIB
"""What the calls of one caller may hold [bytes]."""
MOST_OF_OWNER = 256 * MIB
"""What the calls of the site's owner may hold [bytes]: a kilobyte for each of as many jobs as one call may have."""
MOST = 384 * MIB
"""What all calls may hold [bytes]."""
PATIENCE_SECONDS = 300.0
"""How long what a call holds is kept for its next message [s]."""


class HeldBytes:
    """Counts what is held. Used in one loop."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

    def call(self) -> HeldByCall:
        """What a call of the current caller holds: nothing yet."""
        caller = CALLER.get()
        return HeldByCall(self._of, caller.user, MOST_OF_OWNER if caller.role == OWNER else MOST_OF_ONE)


class HeldByCall:
    """What one call holds; use it as a context, at whose end that is nothing."""

    def __init__(self, of: Counter[str], user: str, most: int) -> None:
        self._of = of
        self._user = user
        self._most = most
        self._mine = 0

    def __enter__(self) -> HeldByCall:
        return self

    def __exit__(self, *error: object) -> None:
        self._of[self._user] -= self._mine
        if not self._of[self._user]:
            del self._of[self._user]

    def add(self, size: int) -> None:
        """Holds so much more [bytes].

        Raises:
            ResourceExhausted: that is more than one call, one caller, or all together may hold.
        """
        if self._mine + size > self._most:
            raise ResourceExhausted(
                f"more than {self._most // MIB} MiB of jobs in one all-or-nothing call; give a batch_size"
            )
        if self._of[self._user] + size > self._most or self._of.total() + size > MOST:
            raise ResourceExhausted(
                f"all-or-nothing calls that are under way hold {self._of[self._user] // MIB} MiB of jobs for "
                f"{self._user} (at most {self._most // MIB}), and {self._of.total() // MIB} MiB for all (at most "
                f"{MOST // MIB}); try again shortly",
                reason=BUSY,
            )
        self._of[self._user] += size
        self._mine += size

    async def in_time(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The messages of a call, as long as each comes in time; who holds nothing has all the time there is.

        Raises:
            ResourceExhausted: one did not.
        """
        while True:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS if self._mine else None):
                    message = await anext(requests)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise ResourceExhausted(
                    f"no further message of an all-or-nothing call came for {PATIENCE_SECONDS:g} s: nothing was added"
                ) from None
            yield message
