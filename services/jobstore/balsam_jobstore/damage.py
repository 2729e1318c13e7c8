"""What is wrong with a row, where something is. Pure: a row in, a reason out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from balsam.fields import LAUNCH_STATES
from balsam.states import Actor, State
from balsam_jobstore import schema

_STATES, _ACTORS = frozenset(int(s) for s in State), frozenset(int(a) for a in Actor)
_LAST_STATE = max(_STATES)
_KINDS = (1, 2, 3)


def problem(table: str, row: Mapping[str, Any]) -> str:
    """Why a row cannot be right; empty: nothing is wrong with it."""
    for column in schema.metadata.tables[table].columns:
        if column.name not in row:
            continue
        value = row[column.name]
        if value is None:
            if not column.nullable:
                return f"{column.name} is NULL"
        elif (word := _wrong_type(column, value)) != "":
            # What a user gave may be a secret, and this goes to the log.
            shown = "" if column.name in ("data", "environ_vars", "args") else f" = {str(value)[:60]!r}"
            return f"{column.name}{shown} is not {word}"
    return _SPECIAL[table](row) if table in _SPECIAL else ""


def _wrong_type(column: sa.Column[Any], value: Any) -> str:
    kind = column.type
    if isinstance(kind, sa.Integer):
        return "" if type(value) is int else "a whole number"
    if isinstance(kind, sa.Float):
        return "" if type(value) in (int, float) else "a number"
    if column.name == "data":
        return "" if _is_object(value) else "a JSON object"
    if isinstance(kind, sa.String) and not isinstance(kind, sa.Text):
        return "" if is_uuid(value) else "a UUID"
    return "" if type(value) is str else "a text"


def _is_object(value: Any) -> bool:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return False
    return isinstance(value, dict)


def is_uuid(value: Any) -> bool:
    """Whether a value is a UUID, as text or as the database's own type."""
    try:
        return bool(uuid.UUID(str(value)))
    except ValueError:
        return False


def _of_job(row: Mapping[str, Any]) -> str:
    if row["state"] not in _STATES:
        return f"state = {row['state']} is not a state"
    for name in ("fence", "attempt", "restarts", "unmet"):
        if row[name] < 0:
            return f"{name} = {row[name]} is negative"
    for name in ("num_nodes", "ranks_per_node", "node_packing_count"):
        if row[name] < 1:
            return f"{name} = {row[name]} is less than 1"
    return ""


def _of_detail(row: Mapping[str, Any]) -> str:
    environ = row["environ_vars"]
    return "" if not environ or _is_object(environ) else "environ_vars is not a JSON object"


def _of_event(row: Mapping[str, Any]) -> str:
    if any(not 0 < ord(letter) - 64 <= _LAST_STATE for letter in row["states"]):
        return f"states = {row['states'][:60]!r} are not states"
    return "" if row["actor"] in _ACTORS else f"actor = {row['actor']} is nobody"


def _of_session(row: Mapping[str, Any]) -> str:
    return "" if row["kind"] in _KINDS else f"kind = {row['kind']} is no kind of session"


def _of_launch(row: Mapping[str, Any]) -> str:
    return "" if row["state"] in LAUNCH_STATES else f"state = {row['state'][:60]!r} is not a state of a launch"


_SPECIAL = {
    "job": _of_job,
    "job_detail": _of_detail,
    "event": _of_event,
    "session": _of_session,
    "launch": _of_launch,
}


def sound(table: str, *, sqlite: bool) -> str:
    """The condition, in SQL, that nothing is wrong with a row of `job` or `job_detail`, as far as SQL can tell.

    PostgreSQL keeps types and NOT NULL by itself; SQLite takes what it is given.
    """
    conditions = []
    if sqlite:
        for column in schema.metadata.tables[table].columns:
            kind = column.type
            word = "integer" if isinstance(kind, sa.Integer) else "text"
            kinds = ["integer", "real"] if isinstance(kind, sa.Float) else [word]
            names = ", ".join(f"'{name}'" for name in [*kinds, *(["null"] if column.nullable else [])])
            conditions.append(f"typeof({table}.{column.name}) IN ({names})")
    if table == "job":
        conditions += [f"state BETWEEN 1 AND {_LAST_STATE}"]
        conditions += [f"{name} >= 0" for name in ("fence", "attempt", "restarts", "unmet")]
        conditions += [f"{name} >= 1" for name in ("num_nodes", "ranks_per_node", "node_packing_count")]
        if sqlite:
            conditions.append("length(job_id) = 36")
    elif sqlite:
        conditions.append("json_valid(data)")
    return " AND ".join(conditions) or "1 = 1"
