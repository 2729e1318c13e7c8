"""Jobs, applications, launches, events and sessions as plain records, and the columns that show them."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from balsam.convert import plain, rfc3339, time_of
from balsam.errors import ValidationError
from balsam.fields import APPLICATION_FIELDS, JOB_FIELDS, LAUNCH_FIELDS
from balsam.states import Actor, State
from balsam_cli.output import Column, Record, state_style
from balsam_cli.text import age, local_time, parse_time

if TYPE_CHECKING:
    from balsam.v1 import event_pb2, session_pb2

ENV_FIELDS = "BALSAM_LS_FIELDS"
SHORT = 8  # digits of an id in a table


def job_record(values: Mapping[str, Any]) -> Record:
    """Every field of a job, from the values that are set."""
    return plain(values, JOB_FIELDS)


def application_record(values: Mapping[str, Any]) -> Record:
    """Every field of an application, from the values that are set."""
    return plain(values, APPLICATION_FIELDS)


def launch_record(values: Mapping[str, Any]) -> Record:
    """Every field of a launch, from the values that are set."""
    return plain(values, LAUNCH_FIELDS)


def event_records(event: event_pb2.Event) -> list[Record]:
    """An event, one record for each state that was entered; a note without a move is one record."""
    common: Record = {
        "time": rfc3339(time_of(event.time)),
        "record_time": rfc3339(time_of(event.record_time)),
        "actor": Actor(event.actor).name if event.actor else "",
        "attempt": event.attempt,
        "sequence": event.sequence,
        "user": event.user,
        "run_job_id": event.run_job_id,
    }
    states: list[str | None] = [State(state).name for state in event.states] or [None]
    # Message, exit code and node belong to the last of them.
    code = event.exit_code if event.HasField("exit_code") else None
    end = {"message": event.message, "exit_code": code, "node": event.node}
    before = {"message": "", "exit_code": None, "node": ""}
    return [
        {"state": state, **common, **(end if number == len(states) else before)}
        for number, state in enumerate(states, start=1)
    ]


def session_record(session: session_pb2.Session) -> Record:
    """A launcher or scheduler at work."""
    from balsam.v1 import session_pb2

    return {
        "session_id": session.session_id,
        "kind": session_pb2.Session.Kind.Name(session.kind),
        "host": session.host,
        "pid": session.pid,
        "user": session.user,
        "create_time": rfc3339(time_of(session.create_time)),
        "nodes": session.nodes,
        "job_mode": session.job_mode,
        "workflow_filter": session.workflow_filter,
        "leases": session.leases,
        "address": session.address,
        "launch": session.launch if session.HasField("launch") else None,
        "trusted_users": list(session.trusted_users),
    }


def age_of(record: Record) -> str:
    """How long ago a record was made."""
    return _since(record["create_time"])


def _since(time: str | None) -> str:
    moment = parse_time(time)
    return age((datetime.datetime.now(datetime.UTC) - moment).total_seconds()) if moment else ""


def _plain_column(name: str) -> Column:
    return Column(name.upper(), lambda record: _text(record[name]), flexible=True)


def _text(value: Any) -> str:
    import json

    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)


ID = Column("ID", lambda record: str(record["job_id"])[:SHORT])
NAME = Column("NAME", lambda record: str(record["name"]) or "job", flexible=True, spare=True)
WORKFLOW = Column("WORKFLOW", lambda record: str(record["workflow"]), flexible=True, spare=True)
APPLICATION = Column("APPLICATION", lambda record: str(record["application"]), flexible=True, spare=True)
STATE = Column("STATE", lambda record: f"{record['state']}{_timeouts(record)}", style=state_style)
AGE = Column("AGE", age_of, right=True)

MANY_TIMEOUTS = 3
"""So many in a row are worth a note: the run may never end within an allocation."""


def _timeouts(record: Record) -> str:
    """A note on a job that is cut off again and again."""
    number = record.get("timeouts", 0)
    return f", {number} time-outs in a row" if number >= MANY_TIMEOUTS else ""


# What matters most comes first: a narrow terminal cuts at the right.
_VERBOSE = (
    Column("TRY", lambda record: str(record["attempt"]), right=True),
    Column("EXIT", lambda record: _text(record["exit_code"]), right=True),
    Column("MESSAGE", lambda record: str(record["message"]), flexible=True),
    Column("ARGS", lambda record: str(record["args"]), flexible=True),
    Column("NODES", lambda record: str(record["num_nodes"]), right=True),
    Column("RANKS", lambda record: str(record["num_nodes"] * record["ranks_per_node"]), right=True),
    Column("MINUTES", lambda record: str(record["wall_time_minutes"]), right=True),
    Column("PRIO", lambda record: str(record["priority"]), right=True),
)


def job_columns(*, verbose: bool = False) -> Sequence[Column]:
    """The columns of a list of jobs, with those that the user added by BALSAM_LS_FIELDS.

    Raises:
        ValidationError: that names a field which does not exist.
    """
    name = NAME._replace(spare=not verbose)  # which matters more than the last of so many columns
    columns = [ID, name, WORKFLOW, APPLICATION, STATE, AGE, *(_VERBOSE if verbose else ())]
    return [*columns, *(_plain_column(name) for name in _extra_fields())]


def _extra_fields() -> list[str]:
    names = [name for name in os.environ.get(ENV_FIELDS, "").split(":") if name]
    for name in names:
        if name not in JOB_FIELDS:
            raise ValidationError(f"{ENV_FIELDS}: {name!r} is not a field of a job (fields: {', '.join(JOB_FIELDS)})")
    return names


APPLICATION_COLUMNS = (
    Column("NAME", lambda record: str(record["name"])),
    Column("EXECUTABLE", lambda record: str(record["executable"]), flexible=True),
    Column("PREPROCESS", lambda record: str(record["preprocess"]), flexible=True),
    Column("POSTPROCESS", lambda record: str(record["postprocess"]), flexible=True),
    Column("DESCRIPTION", lambda record: str(record["description"]), flexible=True),
)

LAUNCH_COLUMNS = (
    Column("LAUNCH", lambda record: str(record["launch_id"]), right=True),
    Column("BATCH ID", lambda record: str(record["scheduler_id"])),
    STATE,
    Column("QUEUE", lambda record: str(record["queue"]), flexible=True),
    Column("PROJECT", lambda record: str(record["project"]), flexible=True),
    Column("NODES", lambda record: str(record["nodes"]), right=True),
    Column("MINUTES", lambda record: str(record["wall_minutes"]), right=True),
    Column("MODE", lambda record: str(record["job_mode"])),
    Column("TAKES", lambda record: _taken(record), flexible=True),
    AGE,
    Column("MESSAGE", lambda record: str(record["message"]), flexible=True),
)


def _taken(launch: Record) -> str:
    """Which jobs a launch takes."""
    workflow = str(launch["wf_filter"]) or "all"
    return f"bound, of {workflow}" if launch["prescheduled_only"] else workflow


def _who(event: Record) -> str:
    """Who did it: with the user where it is not the owner of the site, the job whose run did it where that is another
    one, and the node where a run failed."""
    words = [str(event["actor"]).lower()]
    if event["node"]:
        words.append(f"on {event['node']}")
    if event["run_job_id"]:
        words.append(f"of {event['run_job_id'][:SHORT]}")
    return " ".join([*words, f"({event['user']})"] if event["user"] else words)


HISTORY_COLUMNS = (
    Column("TIME", lambda record: local_time(parse_time(record["time"]), fraction=True)),
    Column("STATE", lambda record: str(record["state"] or ""), style=state_style),
    Column("BY", lambda record: _who(record)),
    Column("MESSAGE", lambda record: str(record["message"]), flexible=True),
)

SESSION_COLUMNS = (
    Column("LAUNCHER", lambda record: f"{record['host']}:{record['pid']}"),
    Column("NODES", lambda record: str(record["nodes"]), right=True),
    Column("MODE", lambda record: str(record["job_mode"])),
    Column("WORKFLOW", lambda record: str(record["workflow_filter"]) or "all", flexible=True),
    Column("HOLDS", lambda record: str(record["leases"]), right=True),
    Column("AGE", age_of, right=True),
)

_SERVICE_STYLES = {"up": "green", "started": "green", "silent": "yellow", "down": "red"}

SERVICE_COLUMNS = (
    Column("SERVICE", lambda record: str(record["name"])),
    Column("STATE", lambda record: str(record["state"]), style=lambda record: _SERVICE_STYLES[record["state"]]),
    Column("PID", lambda record: _text(record["pid"]), right=True),
    Column("VERSION", lambda record: str(record["version"])),
    Column("UP FOR", lambda record: _since(record["start_time"]), right=True),
)
