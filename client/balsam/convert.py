"""Messages of jobs, applications and launches <-> plain values by field name.

Values here are what `balsam.fields` makes of them, except that `data` of a job that came from the store stays the JSON
text that it was, so that reading many jobs does not parse what nobody looks at.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from balsam.fields import (
    APPLICATION_FIELDS,
    CPU_AFFINITIES,
    JOB_FIELDS,
    LAUNCH_FIELDS,
    LAUNCH_STATES,
    Field,
    encode_json,
)
from balsam.states import State
from balsam.v1 import application_pb2, job_pb2, launch_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

JOB_DEFAULTS: Mapping[str, Any] = {name: field.default for name, field in JOB_FIELDS.items()}
APPLICATION_DEFAULTS: Mapping[str, Any] = {name: field.default for name, field in APPLICATION_FIELDS.items()}
LAUNCH_DEFAULTS: Mapping[str, Any] = {name: field.default for name, field in LAUNCH_FIELDS.items()}

_STATE_NAMES = {int(state): state.name for state in State}
_LAUNCH_NUMBERS = {name: number for number, name in enumerate(LAUNCH_STATES, start=1)}
_AFFINITY_NUMBERS = {name: number for number, name in enumerate(CPU_AFFINITIES, start=1)}
_AFFINITY_NAMES = {0: "none"} | {number: name for name, number in _AFFINITY_NUMBERS.items()}


def time_of(message: Timestamp) -> datetime:
    """The time, in UTC, to the microsecond."""
    return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def timestamp(time: datetime) -> Timestamp:
    """The message of a time that has a time zone."""
    delta = time - _EPOCH
    return Timestamp(seconds=delta.days * 86400 + delta.seconds, nanos=delta.microseconds * 1000)


def state_number(state: str | int) -> int:
    """The number of a state that is given by name or number."""
    return State[state] if isinstance(state, str) else State(state)


_FROM_MESSAGE: dict[str, Callable[[Any], Any]] = {
    "environ_vars": dict,
    "parents": list,
    "state": _STATE_NAMES.get,
    "cpu_affinity": lambda number: _AFFINITY_NAMES.get(number, "none"),
    "create_time": time_of,
}

_TO_MESSAGE: dict[str, Callable[[Any], Any]] = {
    "data": lambda value: value if isinstance(value, str) else encode_json(JOB_FIELDS["data"], value),
    "parents": list,
    "state": state_number,
    "cpu_affinity": _AFFINITY_NUMBERS.__getitem__,
    "create_time": timestamp,
}

_FROM_LAUNCH = _FROM_MESSAGE | {"state": {number: name for name, number in _LAUNCH_NUMBERS.items()}.get}
_TO_LAUNCH = _TO_MESSAGE | {"state": _LAUNCH_NUMBERS.__getitem__}


def _values(message: Any, converters: Mapping[str, Callable[[Any], Any]] = _FROM_MESSAGE) -> dict[str, Any]:
    values = {}
    for descriptor, value in message.ListFields():
        name = descriptor.name
        convert = converters.get(name)
        values[name] = convert(value) if convert else value
    return values


def job_values(message: job_pb2.Job) -> dict[str, Any]:
    """The fields that are set in a message; those that are not have their defaults. `data` is JSON text."""
    return _values(message)


def application_values(message: application_pb2.Application) -> dict[str, Any]:
    """The fields that are set in a message."""
    return _values(message)


def launch_values(message: launch_pb2.Launch) -> dict[str, Any]:
    """The fields that are set in a message; those that are not have their defaults."""
    return _values(message, _FROM_LAUNCH)


def job_message_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for the constructor of a job's message; fields at their defaults are left out.

    Raises:
        ValidationError: `data` cannot be stored as JSON.
    """
    return _message_fields(values, JOB_DEFAULTS)


def _message_fields(
    values: Mapping[str, Any],
    defaults: Mapping[str, Any],
    converters: Mapping[str, Callable[[Any], Any]] = _TO_MESSAGE,
) -> dict[str, Any]:
    fields = {}
    for name, value in values.items():
        if value != defaults[name]:
            convert = converters.get(name)
            fields[name] = convert(value) if convert else value
    return fields


def job_message(values: Mapping[str, Any]) -> job_pb2.Job:
    """The message of a job; fields at their defaults are left out. `data` may be a dict or JSON text.

    Raises:
        ValidationError: `data` cannot be stored as JSON.
    """
    return job_pb2.Job(**_message_fields(values, JOB_DEFAULTS))


def application_message(values: Mapping[str, Any]) -> application_pb2.Application:
    """The message of an application; fields at their defaults are left out."""
    return application_pb2.Application(**_message_fields(values, APPLICATION_DEFAULTS))


def launch_message(values: Mapping[str, Any]) -> launch_pb2.Launch:
    """The message of a launch; fields at their defaults are left out."""
    return launch_pb2.Launch(**_message_fields(values, LAUNCH_DEFAULTS, _TO_LAUNCH))


def parse_data(value: Any) -> dict[str, Any]:
    """`data` as a dict of its own, from a dict or from JSON text."""
    if not isinstance(value, str):
        return dict(copy.deepcopy(value))
    return dict(json.loads(value)) if value else {}


def plain(values: Mapping[str, Any], table: Mapping[str, Field], names: Iterable[str] = ()) -> dict[str, Any]:
    """Every field, or those named, as `json` can write it: times are RFC 3339 in UTC, `data` is an object."""
    result = {}
    for name in names or table:
        value = values.get(name, table[name].default)
        if name == "data":
            value = parse_data(value)
        elif isinstance(value, datetime):
            value = rfc3339(value)
        elif isinstance(value, (dict, list)):
            value = value.copy()
        result[name] = value
    return result


def rfc3339(time: datetime) -> str:
    """A time as text: ``2030-12-31T23:59:59.000000Z``."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
