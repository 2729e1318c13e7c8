"""What a transaction of one job store means to the others over the same PostgreSQL: the payloads of notifications."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

CHANNEL = "balsam"
_MOST_BYTES = 7900  # PostgreSQL takes 7,999
_HEAD = ("store", "sequence", "runnable", "rules", "users")
_LISTS = ("stops", "released", "programs", "ended", "schedulers")


@dataclass
class News:
    """What has happened; sent when and only when the transaction is committed, in the order of the commits."""

    store: int = 0
    """The number of the job store."""
    sequence: int = 0
    """Of the last event; 0: there is none."""
    runnable: bool = False
    """There may be work to hand out."""
    rules: bool = False
    """Others are in force now."""
    stops: list[tuple[int, int, int]] = field(default_factory=list)
    """(session, key, fence): work that must be stopped."""
    released: list[int] = field(default_factory=list)
    """Keys of jobs whose leases ended, of sessions that may be of another job store."""
    programs: list[tuple[int, int]] = field(default_factory=list)
    """(application, revision): programs that changed."""
    ended: list[int] = field(default_factory=list)
    """Sessions that ended."""
    schedulers: list[tuple[int, str]] = field(default_factory=list)
    """(session, host): schedulers that opened one."""
    users: bool = False
    """Users were added or dropped."""

    def payloads(self) -> Iterator[str]:
        """As notifications, several where it is long; none where nobody needs to know."""
        head = {name: getattr(self, name) for name in _HEAD}
        head = {name: value for name, value in head.items() if value}
        lists = [(name, item) for name in _LISTS for item in getattr(self, name)]
        if len(head) == 1 and not lists:
            return
        content: dict[str, Any] = dict(head)
        size = _MOST_BYTES // 2
        for name, item in lists:
            size += len(json.dumps(item)) + len(name) + 10
            if size > _MOST_BYTES:
                yield json.dumps(content)
                content, size = {"store": self.store}, len(name)
            content.setdefault(name, []).append(item)
        yield json.dumps(content)

    @classmethod
    def of(cls, payload: str) -> News:
        """What a notification says.

        Raises:
            ValueError: it is none of ours.
        """
        content = json.loads(payload)
        if type(content) is not dict or not content.keys() <= cls.__dataclass_fields__.keys():
            raise ValueError(f"{payload[:60]!r} is no news")
        return cls(**content)
