"""Whether what a file says can be: every field, every move of the history by the state graph. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from balsam.errors import BalsamError, InvalidStateError, ValidationError
from balsam.fields import (
    APPLICATION_FIELDS,
    JOB_FIELDS,
    LAUNCH_FIELDS,
    MAX_INT,
    MAX_TEXT_BYTES,
    Field,
    Kind,
    check_id,
)
from balsam.states import Actor, State, names, path_is_allowed
from balsam_jobstore.moving import records

_COUNTERS = ("attempt", "restarts", "timeouts", "lost", "tries", "fence", "revision")
_JOB_KEYS = frozenset(
    {
        *(*records.NARROW, *records.WIDE, "job_id", "state", "application", "queued_launch", "owner", "create_time"),
        *("working_directory", "parents", "unmet_parents", "failed_parent", "has_children", "history"),
    }
)
_EVENT_KEYS = frozenset({"states", "time", "recorded", "actor", "attempt", "exit_code", "message"})


def check_job(record: Mapping[str, Any]) -> None:
    """Raises ValidationError if no job can be as this record says; names the field."""
    _check_keys(record, _JOB_KEYS)
    _check_id("job_id", record["job_id"])
    for name, field in JOB_FIELDS.items():
        if name in records.WIDE or name in ("name", "workflow", "application", "state", *records.NARROW[2:8]):
            _check_field(field, record[name])
    for name in _COUNTERS:
        _check_integer(name, record[name], 0)
    if record["exit_code"] is not None:
        _check_integer("exit_code", record["exit_code"], -MAX_INT - 1)
    _check_time("create_time", record["create_time"])
    _check_ids(record)
    _check_workdir(record)
    _check_history(record)


def check_application(record: Mapping[str, Any]) -> None:
    """Raises ValidationError if no application can be as this record says; names the field."""
    _check_fields(record, APPLICATION_FIELDS, frozenset(APPLICATION_FIELDS))
    if not record["name"]:
        raise ValidationError("name = '': an application has one", field="name")


def check_launch(record: Mapping[str, Any]) -> None:
    """Raises ValidationError if no launch can be as this record says; names the field."""
    _check_fields(record, LAUNCH_FIELDS, frozenset({*LAUNCH_FIELDS, "request_id"}))
    _check_id("request_id", record["request_id"])


def _check_fields(record: Mapping[str, Any], table: Mapping[str, Field], keys: frozenset[str]) -> None:
    _check_keys(record, keys)
    for name, field in table.items():
        if field.kind is Kind.TIME:
            _check_time(name, record[name])
        elif field.default is None or name == "revision":
            _check_integer(name, record[name], 1)
        else:
            _check_field(field, record[name])


def _check_keys(record: Mapping[str, Any], expected: frozenset[str]) -> None:
    if record.keys() != expected:
        name = min(record.keys() ^ expected)
        raise ValidationError(f"{name} is {'unknown' if name in record else 'missing'}", field=name)


def _check_field(field: Field, value: Any) -> None:
    """A value is in a file as it is stored: nothing is converted."""
    checked = field.check(value)
    if type(checked) is not type(value) or checked != value:
        raise field.error(value, f"must be {field.kind.value}")


def _check_integer(name: str, value: Any, least: int) -> None:
    if type(value) is not int or not least <= value <= MAX_INT:
        raise ValidationError(f"{name} = {value!r:.80}: must be a whole number from {least} to {MAX_INT}", field=name)


def _check_id(name: str, value: Any) -> None:
    if check_id(value, name) != value:
        raise ValidationError(f"{name} = {value!r:.80}: must be a UUID in small letters", field=name)


def _check_time(name: str, value: Any) -> None:
    try:
        records.time_us(value)
    except (TypeError, ValueError, OverflowError):
        raise ValidationError(
            f"{name} = {value!r:.80}: must be a time such as 2030-12-31T23:59:59.000000Z", field=name
        ) from None


def _check_ids(record: Mapping[str, Any]) -> None:
    parents = record["parents"]
    _check_field(JOB_FIELDS["parents"], parents)
    if record["job_id"] in parents:
        raise ValidationError("parents: the job is its own parent", reason="CYCLE", field="parents")
    unmet = record["unmet_parents"]
    if type(unmet) is not list or len(set(map(str, unmet))) != len(unmet) or not all(one in parents for one in unmet):
        raise ValidationError("unmet_parents must be some of parents", field="unmet_parents")
    if record["failed_parent"] is not None and record["failed_parent"] not in parents:
        raise ValidationError("failed_parent must be one of parents, or null", field="failed_parent")
    if record["queued_launch"] is not None:
        _check_id("queued_launch", record["queued_launch"])
    if type(record["has_children"]) is not bool:
        raise ValidationError("has_children must be true or false", field="has_children")


def _check_workdir(record: Mapping[str, Any]) -> None:
    """One of a user's choice is absolute; else it is below the site's data/ and ends with the job's own id."""
    path = record["working_directory"]
    _check_field(JOB_FIELDS["working_directory"], path)
    if path.startswith("/"):
        JOB_FIELDS["user_workdir"].check(path)
        return
    parts = path.split("/")
    job_id = record["job_id"]
    plain = all(part.isprintable() and part not in ("", ".", "..") for part in parts)
    if not plain or not parts[-1].endswith((f"_{job_id[:8]}", f"_{job_id}")):
        raise ValidationError(f"working_directory = {path!r:.80}: is not one of this job", field="working_directory")


def _check_history(record: Mapping[str, Any]) -> None:
    history = record["history"]
    if type(history) is not list or not history:
        raise ValidationError("history must be a list of events", field="history")
    state = 0
    for number, event in enumerate(history, 1):
        try:
            state = _check_event(event, state)
        except BalsamError as error:
            raise ValidationError(f"history, event {number}: {error}", reason=error.reason, field="history") from None
    if State(state).name != record["state"]:
        raise InvalidStateError(f"state = {record['state']}, but the history ends with {State(state).name}")


def _check_event(event: Any, before: int) -> int:
    """The state after an event."""
    if type(event) is not dict or not _EVENT_KEYS >= event.keys() >= _EVENT_KEYS - {"exit_code", "message"}:
        raise ValidationError(f"must have {', '.join(sorted(_EVENT_KEYS))}")
    for name in ("time", "recorded"):
        _check_time(name, event[name])
    _check_integer("attempt", event["attempt"], 0)
    if event.get("exit_code") is not None:
        _check_integer("exit_code", event["exit_code"], -MAX_INT - 1)
    message = Field("message", Kind.TEXT, "", "", max_bytes=MAX_TEXT_BYTES)
    _check_field(message, event.get("message", ""))
    states, actor = event["states"], event["actor"]
    if actor not in list(Actor.__members__):
        raise ValidationError(f"actor = {actor!r:.80}: must be one of {', '.join(Actor.__members__)}")
    if type(states) is not list or not states or not all(name in list(State.__members__) for name in states):
        raise ValidationError(f"states = {states!r:.80}: must be names of states")
    path = tuple(State[name] for name in states)
    if not before:
        if path != (State.CREATED,):
            raise InvalidStateError(f"a history begins with CREATED alone, not with {', '.join(states)}")
    elif not path_is_allowed(Actor[actor], before, path):
        raise InvalidStateError(f"{actor} cannot move a job from {names([before])} through {', '.join(states)}")
    return int(path[-1])
