"""How much of a service one caller may have at once, so that nobody takes it from all others."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from balsam.errors import ResourceExhausted
from balsam.rpc import BUSY


class CallerLike(Protocol):
    """Who calls: see `balsam.serving.Caller`."""

    @property
    def user(self) -> str:
        """A person."""

    @property
    def role(self) -> str:
        """What that person, or a run of theirs, may do."""

    @property
    def job_id(self) -> str:
        """Of the run or script; empty: the person calls."""


@dataclass(frozen=True)
class Share:
    """What one caller may have under way: calls that are to be answered, and streams of answers."""

    calls: int
    streams: int


SHARES: Mapping[str, Share] = {"owner": Share(20_000, 4000), "run": Share(1000, 100)}
"""Role -> its share. The site's own services call as the owner."""
OTHERS = Share(2000, 400)
"""The share of every other role."""


class Shares:
    """Counts what each caller has under way at one service. Used in one loop."""

    def __init__(self) -> None:
        self._under_way: Counter[tuple[str, str, bool]] = Counter()

    @contextlib.contextmanager
    def taken(self, caller: CallerLike, *, stream: bool = False) -> Iterator[None]:
        """Around a call.

        Raises:
            ResourceExhausted: the caller has too many under way.
        """
        key = (caller.user, caller.job_id, stream)
        share = SHARES.get(caller.role, OTHERS)
        most = share.streams if stream else share.calls
        if self._under_way[key] >= most:
            what = "streams" if stream else "calls"
            raise ResourceExhausted(
                f"{most} {what} of {f'job {caller.job_id}' if caller.job_id else caller.user} are under way, which is "
                "the limit for one caller; try again when some have ended",
                reason=BUSY,
            )
        self._under_way[key] += 1
        try:
            yield
        finally:
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]
