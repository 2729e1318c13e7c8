"""A job's history as text, and what can be read from it. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

TIME_FORMAT = "%m-%d-%Y %H:%M:%S.%f"
"""How the history writes a time, in UTC."""

RUN_ENDS = ("RUN_DONE", "RUN_ERROR", "RUN_TIMEOUT")


@dataclass(frozen=True, slots=True)
class Passage:
    """A state that a job entered, when, and why."""

    state: str
    time: datetime
    message: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """The states that a job entered at one instant, in order; none if it is a note, or that the job was `deleted`."""

    job_id: str
    time: datetime
    states: tuple[str, ...] = ()
    deleted: bool = False


def line(passage: Passage) -> str:
    """One line of the history: ``[MM-DD-YYYY HH:MM:SS.ffffff STATE] message``."""
    time = passage.time.astimezone(UTC).strftime(TIME_FORMAT)
    # A line of a message must not look like a line of the history.
    message = passage.message.strip().replace("\n", "\n    ")
    return f"[{time} {passage.state}] {message}".rstrip()


def text(passages: Iterable[Passage]) -> str:
    """The history, oldest first."""
    return "\n".join(line(passage) for passage in passages)


def state_times(passages: Iterable[Passage]) -> dict[str, datetime]:
    """When each state was entered last, in UTC."""
    return {passage.state: passage.time for passage in passages}


def run_seconds(passages: Iterable[Passage]) -> float | None:
    """How long the last run that ended took [s]; None before one has."""
    start: datetime | None = None
    seconds: float | None = None
    for passage in passages:
        if passage.state == "RUNNING":
            start = passage.time
        elif passage.state in RUN_ENDS and start is not None:
            seconds = (passage.time - start).total_seconds()
            start = None
    return seconds
