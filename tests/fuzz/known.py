"""What the callers of a fuzzer have learned from answers: ids, tokens and leases that exist, or did."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from typing import Any

from google.protobuf.message import Message

from balsam.v1.lease_pb2 import Lease

_MOST = 200
_DEPTH = 4
_ID_FIELDS = {
    "job_id": "job",
    "job_ids": "job",
    "parents": "job",
    "parent_id": "job",
    "child_id": "job",
    "session_id": "session",
    "request_id": "request",
    "next_page_token": "page",
    "page_token": "page",
    "name": "name",
    "application": "name",
    "launch_id": "launch",
    "queued_launch": "launch",
    "launch": "launch",
}
"""Field -> what it names."""


class Known:
    """The last of each kind, whoever they belong to; those of a caller are another one's to misuse."""

    def __init__(self) -> None:
        self._values: dict[str, deque[Any]] = defaultdict(lambda: deque(maxlen=_MOST))

    def add(self, field: str, value: Any) -> None:
        """Learns the value of a field."""
        self._values[_ID_FIELDS[field]].append(value)

    def learn(self, message: Message, depth: int = 0) -> None:
        """Learns what a message tells."""
        for field, value in message.ListFields():
            if field.name in _ID_FIELDS and isinstance(value, str | int):
                self.add(field.name, value)
            elif isinstance(value, Lease):
                self._values["lease"].append((value.handle, value.token))
            elif field.message_type is None or depth == _DEPTH:
                continue
            elif not field.is_repeated:
                self.learn(value, depth + 1)
            elif not field.message_type.GetOptions().map_entry:
                for item in value[:3]:
                    self.learn(item, depth + 1)

    def pick(self, field: str, chance: random.Random) -> Any:
        """A value that a field of this name has had; None: there was none."""
        values = self._values.get(_ID_FIELDS.get(field, ""))
        return values[chance.randrange(len(values))] if values else None

    def lease(self, chance: random.Random) -> tuple[int, int]:
        """A lease that was granted, or else one that never was."""
        values = self._values["lease"]
        return values[chance.randrange(len(values))] if values else (chance.randrange(1, 50), chance.randrange(1, 4))
