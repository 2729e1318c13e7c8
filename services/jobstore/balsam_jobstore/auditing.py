"""Who did what: in whose name a command works, and a record of what they change that has no events of its own."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from balsam_jobstore.database import Sql, now_us
from balsam_jobstore.rows import OWNER_KEY

if TYPE_CHECKING:
    from balsam_jobstore.tx import Tx

MOST_OBJECTS = 20
"""So many names or ids are kept of a change of more."""
_MOST_DETAIL = 500
_DAY_US = 86_400_000_000
_LOOK_SECONDS = 3600.0
_MOST_DROPPED = 2000
_COLUMNS = ("time_us", "user_key", "run_id", "action", "objects", "count", "detail")


@dataclass(frozen=True, slots=True)
class By:
    """In whose name something is done: a user's, and the job's whose run or script does it."""

    user_key: int = OWNER_KEY
    run_key: int = 0
    """0: a person, or a program of theirs."""
    run_id: str = ""


THE_OWNER = By()
"""The owner of the site, or a service: what is done in this name is not marked."""


@dataclass(slots=True)
class _Changed:
    objects: list[str] = field(default_factory=list)
    count: int = 0


class Audit:
    """What the commands of one transaction change; the same changes of several objects are one row."""

    def __init__(self) -> None:
        self._changes: dict[tuple[By, str, str], _Changed] = {}

    def note(self, by: By, action: str, objects: Iterable[str], detail: str = "", count: int = 0) -> None:
        """Something has been changed; `count`: how many objects, where not all are named."""
        changed = self._changes.setdefault((by, action, detail[:_MOST_DETAIL]), _Changed())
        named = list(objects)
        changed.count += count or len(named)
        changed.objects += named[: MOST_OBJECTS - len(changed.objects)]

    def write(self, sql: Sql, time_us: int) -> None:
        """Writes it."""
        if not self._changes:
            return
        rows = [
            (time_us, by.user_key, by.run_id or None, action, " ".join(changed.objects), changed.count, detail)
            for (by, action, detail), changed in self._changes.items()
        ]
        sql.insert("audit", _COLUMNS, rows)


class AuditAge:
    """Drops what the audit trail has kept long enough. Lives in the loop.

    Args:
        do: runs a command in a transaction.
        days: for so long it is kept; 0: for ever.
    """

    def __init__(self, do: Callable[[Callable[[Tx], Any]], Awaitable[Any]], days: int) -> None:
        self._do = do
        self._days = days
        self._next_look = 0.0

    async def drop_old(self) -> None:
        """Looks at the oldest entry now and then, and drops some thousand a transaction.

        Raises:
            BalsamError: why it could not.
        """
        if not self._days or time.monotonic() < self._next_look:
            return
        before = now_us() - self._days * _DAY_US
        while await self._do(lambda tx: drop_before(tx, before)) == _MOST_DROPPED:
            pass
        self._next_look = time.monotonic() + _LOOK_SECONDS


def drop_before(tx: Tx, time_us: int) -> int:
    """Drops the oldest entries, if they are from before a time; returns how many."""
    # The first is found by its key; only where that is old are others read.
    text = """DELETE FROM audit WHERE key IN (SELECT key FROM audit WHERE time_us < :before
              AND (SELECT time_us FROM audit ORDER BY key LIMIT 1) < :before ORDER BY key LIMIT :most) RETURNING key"""
    return len(tx.sql.run(text, before=time_us, most=_MOST_DROPPED))
