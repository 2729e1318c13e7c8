"""The history: one row of `event` for the states that a job entered at one instant, by one actor."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class EventRecord:
    """One row of the history, before or after it has its sequence."""

    key: int
    job_id: str
    workflow: str
    states: tuple[int, ...]
    time_us: int
    actor: int
    attempt: int
    message: str = ""
    exit_code: int | None = None
    deleted: bool = False
    sequence: int = 0
    record_us: int = 0
    user_key: int | None = None
    """Who did it; None: the owner of the site, or a service."""
    run_key: int | None = None
    """The job whose run did it, where that is another one, and its id."""
    run_id: str = ""
    owner_key: int = 1
    """Whose job it is about."""
    node: str = ""
    """Name of the (first) node of the run that failed, was cut off or lost with it; empty: it is no such event."""

    @property
    def is_signed(self) -> bool:
        """Whether its row says who did it, or where."""
        return self.user_key is not None or self.run_key is not None or self.node != ""


EVENT_COLUMNS = (
    "sequence",
    "job",
    "states",
    "time_us",
    "record_us",
    "actor",
    "attempt",
    "exit_code",
    "message",
    "deleted_id",
)


def event_values(event: EventRecord) -> tuple[object, ...]:
    """The row of an event."""
    return (
        event.sequence,
        event.key,
        pack_states(event.states),
        event.time_us,
        event.record_us,
        event.actor,
        event.attempt,
        event.exit_code,
        event.message,
        event.job_id if event.deleted else None,
    )


SIGNED_COLUMNS = (*EVENT_COLUMNS, "user_key", "run_key", "node")


def signed_values(event: EventRecord, nodes: Mapping[str, int]) -> tuple[object, ...]:
    """The row of an event that says who did it, or where; `nodes`: name -> key."""
    return (*event_values(event), event.user_key, event.run_key, nodes.get(event.node))


@functools.lru_cache(1000)
def pack_states(states: tuple[int, ...]) -> str:
    """States as letters: CREATED is A, USER_KILLED is N."""
    return "".join([chr(64 + state) for state in states])


def unpack_states(letters: str) -> tuple[int, ...]:
    """The states behind letters."""
    return tuple([ord(letter) - 64 for letter in letters])
