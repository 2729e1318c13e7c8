"""What a campaign leaves behind, as plain values: for the checker, which touches nothing else."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from balsam_jobstore.history import unpack_states
from tests.chaos.plan import JobPlan, load_plan


@dataclass(frozen=True)
class JobRow:
    """A job in the database, in the end."""

    job_id: str
    state: int
    attempt: int = 0
    restarts: int = 0
    leased: bool = False


@dataclass(frozen=True)
class Event:
    """A row of the event log."""

    sequence: int
    job_id: str
    states: tuple[int, ...]
    actor: int
    attempt: int = 0
    exit_code: int | None = None


@dataclass(frozen=True)
class Record:
    """A line of a witness: ``begin``, ``end`` or ``overlap``, of the run or of a script."""

    kind: str
    part: str
    attempt: int
    code: int = 0


@dataclass(frozen=True)
class Fault:
    """A fault that was given; `job_id` of the run or script that was hit."""

    kind: str
    target: str
    seconds: float = 0.0
    job_id: str = ""


@dataclass
class History:
    """All that is known of a campaign.

    Attributes:
        plan: job id -> what it was meant to do.
        added: ids of the jobs whose addition was acknowledged.
        killed: ids of the jobs of which it was acknowledged that they are killed by that call.
        touched: ids of the jobs that a user tried to kill or to reset, acknowledged or not.
        jobs: job id -> its row.
        events: the event log, in order.
        stream: what the subscriber was told, in order.
        witnesses: job id -> its witness, in order.
        faults: what was given.
    """

    plan: dict[str, JobPlan] = field(default_factory=dict)
    added: set[str] = field(default_factory=set)
    killed: set[str] = field(default_factory=set)
    touched: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, JobRow] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    stream: list[Event] = field(default_factory=list)
    witnesses: dict[str, list[Record]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def events_by_job(self) -> dict[str, list[Event]]:
        """The event log, job by job."""
        found: dict[str, list[Event]] = defaultdict(list)
        for event in self.events:
            found[event.job_id].append(event)
        return found


def read_history(directory: Path, connection: sa.Connection) -> History:
    """The history of the campaign in a directory; `connection` leads to its database."""
    history = History(plan={job.job_id: job for job in load_plan(directory / "plan.json").jobs})
    for line in read_lines(directory / "acks.jsonl"):
        if "added" in line:
            history.added.update(line["added"])
        elif "job_id" in line:
            history.touched[line["job_id"]] = line["action"]
            if line.get("killed"):
                history.killed.add(line["job_id"])
    history.faults = [
        Fault(line["kind"], line["target"], line["seconds"], line["job_id"])
        for line in read_lines(directory / "faults.jsonl")
    ]
    history.stream = [read_event(line) for line in read_lines(directory / "stream.jsonl")]
    keys: dict[int, str] = {}
    for key, job_id, state, attempt, restarts, session in connection.execute(
        sa.text("SELECT key, job_id, state, attempt, restarts, session FROM job")
    ):
        keys[key] = str(job_id)
        history.jobs[str(job_id)] = JobRow(str(job_id), state, attempt, restarts, session is not None)
    for sequence, key, states, *values in connection.execute(
        sa.text("SELECT sequence, job, states, actor, attempt, exit_code FROM event ORDER BY sequence")
    ):
        history.events.append(Event(sequence, keys.get(key, f"key {key}"), unpack_states(states), *values))
    for path in (directory / "witness").iterdir():
        history.witnesses[path.name] = list(parse_witness(path.read_text().splitlines()))
    return history


def read_lines(path: Path) -> Iterator[Any]:
    """The values of a file of JSON lines; the last may have been cut off, or be under way."""
    if not path.exists():
        return
    with path.open() as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def cut_to_whole_lines(path: Path) -> None:
    """Takes away what a kill has cut off, so that more can be appended."""
    if path.exists():
        data = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)


def event_line(event: Any) -> str:
    """An event of the stream as a line of JSON."""
    code = event.exit_code if event.HasField("exit_code") else None
    return json.dumps([event.sequence, event.job_id, list(event.states), event.actor, event.attempt, code]) + "\n"


def read_event(line: list[Any]) -> Event:
    """What `event_line` wrote."""
    sequence, job_id, states, *values = line
    return Event(sequence, job_id, tuple(states), *values)


def parse_witness(lines: Iterable[str]) -> Iterator[Record]:
    """The records of a witness."""
    for line in lines:
        kind, part, attempt, *code = line.split()
        yield Record(kind, part, int(attempt), int(code[0]) if code else 0)
