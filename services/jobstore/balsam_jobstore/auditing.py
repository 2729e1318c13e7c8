"""Who did what: in whose name a command works, and a record of what they change that has no events of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from balsam_jobstore.database import Sql
from balsam_jobstore.rows import OWNER_KEY

MOST_OBJECTS = 20
"""So many names or ids are kept of a change of more."""
_MOST_DETAIL = 500
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
