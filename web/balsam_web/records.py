"""Events, sessions and users as plain records that the page shows. No I/O."""

from __future__ import annotations

from typing import Any

from balsam.convert import plain, rfc3339, time_of
from balsam.fields import JOB_FIELDS
from balsam.states import Actor, State
from balsam.v1 import event_pb2, session_pb2

Record = dict[str, Any]

ROW_FIELDS = (
    "job_id",
    "name",
    "workflow",
    "application",
    "state",
    "owner",
    "num_nodes",
    "ranks_per_node",
    "priority",
    "attempt",
    "exit_code",
    "message",
    "create_time",
)
"""What a row of the job table needs."""
_MOST_MESSAGE = 300
_MOST_TEXT = 20_000


def row(values: dict[str, Any]) -> Record:
    """A job in the table."""
    record = plain(values, JOB_FIELDS, ROW_FIELDS)
    record["message"] = shortened(record["message"].partition("\n")[0], _MOST_MESSAGE)
    return record


def job(values: dict[str, Any]) -> Record:
    """Every field of a job; what is very long is cut."""
    record = plain(values, JOB_FIELDS)
    return {name: shortened(value, _MOST_TEXT) if isinstance(value, str) else value for name, value in record.items()}


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters, with a note on what was cut."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} characters more)"


def events(event: event_pb2.Event) -> list[Record]:
    """An event, one record for each state that was entered; a note without a move is one record."""
    states: list[str] = [State(state).name for state in event.states] or [""]
    common = {
        "time": rfc3339(time_of(event.time)),
        "actor": Actor(event.actor).name.lower() if event.actor else "",
        "user": event.user,
        "attempt": event.attempt,
    }
    end = {
        "message": shortened(event.message, _MOST_TEXT),
        "exit_code": event.exit_code if event.HasField("exit_code") else None,
        "node": event.node,
    }
    before = {"message": "", "exit_code": None, "node": ""}
    # Message, exit code and node belong to the last of them.
    return [
        {"state": state, **common, **(end if number == len(states) else before)}
        for number, state in enumerate(states, start=1)
    ]


def launcher(session: session_pb2.Session, in_use: float) -> Record:
    """A launcher at work; `in_use`: so many of its nodes are."""
    return {
        "host": session.host,
        "pid": session.pid,
        "user": session.user,
        "create_time": rfc3339(time_of(session.create_time)),
        "nodes": session.nodes,
        "busy": round(in_use, 2),
        "holds": session.leases,
        "job_mode": session.job_mode,
        "workflow_filter": session.workflow_filter,
        "launch": session.launch if session.HasField("launch") else None,
    }


def busy(nodes: float, leases: int, free: float | None) -> float:
    """How many nodes of a launcher are in use, by how many it could still fill; without that, by the jobs it holds."""
    if leases == 0:
        return 0.0
    return min(nodes, leases) if free is None else min(nodes, max(0.0, nodes - free))
