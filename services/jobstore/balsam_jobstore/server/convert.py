"""Between protobuf messages and the plain values that the verbs work on."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from balsam.errors import ValidationError
from balsam.fields import CPU_AFFINITIES, JOB_FIELDS, MAX_DATA_BYTES, Field, Kind, Phase, check_id, unknown_field
from balsam.request_limits import BY_NAME, MOST_CHARACTERS
from balsam.states import State
from balsam.v1 import event_pb2, job_pb2, job_service_pb2, query_pb2
from balsam_jobstore.amounts import cut
from balsam_jobstore.creation import NewJob
from balsam_jobstore.history import EventRecord
from balsam_jobstore.query import MAX_TESTS, MAX_VALUES, Group, Node, Order, Test
from balsam_jobstore.refusals import MOST_REFUSALS, Refused

M = TypeVar("M", bound=Message)

MAX_MESSAGE = 8000
"""Of a message in the history [bytes]."""
MAX_PATHS = BY_NAME["paths"]
_LONGEST_NAME = 100
_TIME_FIELDS = frozenset({"create_time"})
_STATES = frozenset(int(state) for state in State)
_CHECKS = {name: field.check for name, field in JOB_FIELDS.items()}
_GIVEN = frozenset(name for name, field in JOB_FIELDS.items() if field.phase is not Phase.NEVER) - {"state", "job_id"}
_DETAIL_BOOLEANS = frozenset(
    {"wait_for_parents", "post_error_handler", "post_timeout_handler", "auto_timeout_retry", "leased"}
)


_ENDLESS_US = 1 << 62


def timestamp(time_us: int) -> Timestamp:
    """A point in time, from microseconds since 1970."""
    return Timestamp(seconds=time_us // 1_000_000, nanos=time_us % 1_000_000 * 1000)


def time_us(message: Timestamp) -> int:
    """Microseconds since 1970 of a point in time; one that no column could hold is before or after all others."""
    return max(-_ENDLESS_US, min(message.seconds * 1_000_000 + message.nanos // 1000, _ENDLESS_US))


def new_job(message: job_pb2.Job, index: int) -> NewJob:
    """A job to add.

    Raises:
        ValidationError: a field is wrong.
    """
    values: dict[str, Any] = {}
    parents: list[str] = []
    job_id = ""
    for descriptor, value in message.ListFields():
        name = descriptor.name
        if name == "job_id":
            job_id = check_id(value)
        elif name == "parents":
            parents = _CHECKS["parents"](value)
        elif name == "state":
            if value != State.CREATED:
                raise ValidationError(f"state = {_state_name(value)}: a new job is CREATED", field="state")
        elif name in _GIVEN:
            values[name] = _plain(name, value)
        # Output-only fields are ignored, as AIPs ask.
    if not job_id:
        raise ValidationError("job_id is missing: the client makes it (a UUID)", field="job_id")
    return NewJob(job_id, index, values, parents)


def _plain(name: str, value: Any) -> Any:
    """A field of a message as a checked value."""
    if name == "cpu_affinity":
        if value not in (0, 1, 2):
            raise ValidationError(f"cpu_affinity = {value}: must be NONE (1) or DEPTH (2)", field=name)
        return CPU_AFFINITIES[max(value - 1, 0)]
    if name == "environ_vars":
        value = dict(value)
    return _CHECKS[name](value)


def changes(message: job_pb2.Job, mask: FieldMask) -> dict[str, Any]:
    """The masked fields of a job as checked values.

    Raises:
        ValidationError: a field does not exist, cannot be changed, or its value is wrong.
    """
    check_mask(mask, "update_mask")
    if not mask.paths:
        raise ValidationError("update_mask names no field", field="update_mask")
    values: dict[str, Any] = {}
    for name in mask.paths:
        if name not in JOB_FIELDS:
            raise unknown_field(name, JOB_FIELDS, "a job")
        if JOB_FIELDS[name].phase in (Phase.NEVER, Phase.CREATION):
            raise ValidationError(f"{name} cannot be changed ({JOB_FIELDS[name].phase.value})", field=name)
        if name == "state":
            # Whoever sends a job leaves out what has its default, and so CREATED.
            values[name] = state(message.state or State.CREATED).name
        elif message.DESCRIPTOR.fields_by_name[name].has_presence and not message.HasField(name):  # type: ignore[arg-type]
            values[name] = JOB_FIELDS[name].default
        else:
            value = getattr(message, name)
            values[name] = _plain(name, list(value) if name == "parents" else value)
    return values


def check_mask(mask: FieldMask, field: str) -> None:
    """Raises ValidationError if a mask names more fields than there can be."""
    if len(mask.paths) > MAX_PATHS:
        raise ValidationError(f"{field} names {len(mask.paths)} fields; at most {MAX_PATHS} are allowed", field=field)


def state(number: int) -> State:
    """A state. Raises ValidationError for a number that is none."""
    try:
        return State(number)
    except ValueError:
        raise ValidationError(
            f"state = {number}: must be one of {', '.join(State.__members__)}", field="state"
        ) from None


def state_number(number: int) -> int:
    """The number of a state, if it is one; as `state`, without the object."""
    return number if number in _STATES else int(state(number))


def plain_text(text: str, field: str, most: int = 1000) -> str:
    """A text that is no field of a resource. Raises ValidationError if it holds a NUL character, or is too long."""
    if "\0" in text:
        raise ValidationError(f"{field} = {text[:80]!r}: holds a NUL character", field=field)
    if len(text) > most:
        raise ValidationError(f"{field} has {len(text)} characters; at most {most} are allowed", field=field)
    return text


def event_text(message: str) -> str:
    """A message for the history; a long one is cut. Raises ValidationError if it holds a NUL character."""
    return plain_text(cut(message, MAX_MESSAGE), "message", MAX_MESSAGE)


def _state_name(number: int) -> str:
    return State(number).name if number in State._value2member_map_ else str(number)


def job_message(values: Mapping[str, Any], data_directory: str) -> job_pb2.Job:
    """A job, from field -> column value."""
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name in _DETAIL_BOOLEANS:
            given[name] = bool(value)
        elif name in _TIME_FIELDS:
            given[name] = timestamp(value)
        elif name == "environ_vars":
            given[name] = json.loads(value) if value else None
        elif name == "data":
            given[name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        elif name == "working_directory":
            given[name] = absolute(value, data_directory)
        elif name == "job_id":
            given[name] = str(value)
        elif name == "message":
            given[name] = value or ""
        elif name == "state":
            given[name] = State(value)  # protobuf would take any number
        else:
            given[name] = value
    return job_pb2.Job(**given)


def absolute(workdir: str, data_directory: str) -> str:
    """A working directory as an absolute path."""
    return workdir if workdir.startswith("/") else f"{data_directory}/{workdir}"


def event_message(event: EventRecord, name: Callable[[int], str]) -> event_pb2.Event:
    """An entry of the history; `name` gives the names of users."""
    message = event_pb2.Event(
        sequence=event.sequence,
        job_id=event.job_id,
        states=event.states,  # type: ignore[arg-type]
        time=timestamp(event.time_us),
        record_time=timestamp(event.record_us),
        actor=event.actor,  # type: ignore[arg-type]
        message=event.message,
        attempt=event.attempt,
        exit_code=event.exit_code,
        deleted=event.deleted,
    )
    if event.is_signed:
        message.user = name(event.user_key) if event.user_key is not None else ""
        message.run_job_id = event.run_id
        message.node = event.node
    return message


def refusal_message(item: Refused) -> job_service_pb2.Refusal:
    """Why one item was not done."""
    return job_service_pb2.Refusal(
        job_id=item.job_id[:_LONGEST_NAME],
        index=item.index,
        reason=item.reason,
        message=item.message[:2000],
        field=item.field[:_LONGEST_NAME],
    )


def refusal_messages(items: Iterable[Refused]) -> list[job_service_pb2.Refusal]:
    """The first refusals of a list."""
    return [refusal_message(item) for item in list(items)[:MOST_REFUSALS]]


# Queries


def node(message: query_pb2.Filter) -> Node:
    """A filter as a tree of plain values; an empty one matches all.

    Raises:
        ValidationError: a test is not valid, or there are too many.
    """
    return _node(message, 0, Counter())


def _node(message: query_pb2.Filter, depth: int, count: Counter[str]) -> Node:
    if depth > 60:
        raise ValidationError("the filter is nested too deeply", field="filter")
    kind = message.WhichOneof("kind")
    if kind is None:
        return Group("all")
    if kind == "test":
        return _test(message.test, count)
    members = (getattr(message, "not"),) if kind == "not" else getattr(message, kind).filters
    # Before anything is made of them: a message has room for millions.
    count["conditions"] += len(members)
    if count["conditions"] > MAX_TESTS:
        raise ValidationError(f"the filter is too large (at most {MAX_TESTS} tests)", field="filter")
    return Group(kind, tuple(_node(member, depth + 1, count) for member in members))


def _test(message: query_pb2.Test, count: Counter[str]) -> Test:
    if not message.field.isidentifier() or len(message.field) > _LONGEST_NAME:
        raise ValidationError(
            f"a test of the filter names no field, but {message.field[:80]!r}", reason="UNKNOWN_FIELD", field="field"
        )
    names = query_pb2.Test.Op.DESCRIPTOR.values_by_number
    if message.op not in names or message.op == query_pb2.Test.OP_UNSPECIFIED:
        raise ValidationError(f"op = {message.op} is not a lookup", reason="UNKNOWN_LOOKUP", field=message.field)
    op = names[message.op].name.lower()
    count["values"] += len(message.values)
    if count["values"] > MAX_VALUES:
        raise ValidationError(f"the filter has more than {MAX_VALUES} values", field=message.field)
    values = tuple(_value(value) for value in message.values)
    if any(isinstance(value, str) and len(value) > MAX_DATA_BYTES for value in values):
        raise ValidationError(
            f"{message.field}__{op} has a text of more than {MAX_DATA_BYTES} characters", field=message.field
        )
    return Test(message.field, op, values, _path(message.path))


def _path(keys: Sequence[str]) -> tuple[str, ...]:
    if len(keys) > BY_NAME["path"] or any(len(key) > MOST_CHARACTERS for key in keys):
        raise ValidationError(
            f"a path has at most {BY_NAME['path']} keys of {MOST_CHARACTERS} characters each", field="path"
        )
    return tuple(keys)


def _value(message: query_pb2.Value) -> Any:
    kind = message.WhichOneof("kind")
    return None if kind is None else getattr(message, kind)


def value_message(value: Any) -> query_pb2.Value:
    """A plain value as a message."""
    if value is None:
        return query_pb2.Value()
    if isinstance(value, bool):
        return query_pb2.Value(boolean=value)
    if isinstance(value, int):
        return query_pb2.Value(integer=value)
    if isinstance(value, float):
        return query_pb2.Value(number=value)
    return query_pb2.Value(text=str(value))


def orders(messages: Iterable[query_pb2.OrderBy]) -> list[Order]:
    """Sort keys."""
    return [Order(message.field, message.descending, tuple(message.path)) for message in messages]


def optional_node(request: Message) -> Node | None:
    """The filter of a request; None: it has none, or one that all match, for which there may be a shorter way."""
    found = node(request.filter) if request.HasField("filter") else None  # type: ignore[attr-defined]
    return None if found == Group("all") else found


def group_values(fields: Sequence[str], row: Sequence[Any]) -> list[query_pb2.Value]:
    """The values of a group, states by name, booleans as such."""
    values = []
    for name, value in zip(fields, row, strict=False):
        if name == "state":
            value = State(value).name
        elif name in _DETAIL_BOOLEANS:
            value = bool(value)
        elif name == "cpu_affinity":
            value = CPU_AFFINITIES[value - 1]
        values.append(value_message(value))
    return values


# Applications and launches


_COLUMN_OF = {"create_time": "create_us", "launch_id": "key"}


def record_message(make: Callable[..., M], table: Mapping[str, Field], record: Any) -> M:
    """A message of a resource that is one row, from the row's object, or from field -> column value."""
    columns: Mapping[str, Any] = record if isinstance(record, Mapping) else dataclasses.asdict(record)
    given = {}
    for name, field in table.items():
        value = columns[name] if name in columns else columns[_COLUMN_OF[name]]
        given[name] = _FROM_COLUMN[field.kind](value) if field.kind in _FROM_COLUMN else value
    return make(**given)


_FROM_COLUMN: dict[Kind, Callable[[Any], Any]] = {Kind.TIME: timestamp, Kind.BOOLEAN: bool}


def record_values(table: Mapping[str, Field], noun: str, message: Message, names: Iterable[str]) -> dict[str, Any]:
    """Fields of a resource as checked values; what a message cannot leave out otherwise has its default.

    Raises:
        ValidationError: a field does not exist, or its value is wrong.
    """
    values = {}
    for name in names:
        if name not in table:
            raise unknown_field(name, table, noun)
        values[name] = table[name].check(_given(table[name], message))
    return values


def _given(field: Field, message: Message) -> Any:
    descriptor = message.DESCRIPTOR.fields_by_name[field.name]
    value = getattr(message, field.name)
    if descriptor.enum_type is not None:
        names = descriptor.enum_type.values_by_number
        return names[value].name if value in names and value else value or field.default
    return field.default if descriptor.has_presence and not message.HasField(field.name) else value


def record_changes(
    table: Mapping[str, Field], noun: str, message: Message, mask: FieldMask, settable: Collection[str]
) -> dict[str, Any]:
    """The masked fields of a resource as checked values.

    Raises:
        ValidationError: a field does not exist, is not one of `settable`, or its value is wrong.
    """
    values = record_values(table, noun, message, mask.paths)
    fixed = next((name for name in mask.paths if name not in settable), None)
    if fixed:
        raise ValidationError(f"{fixed} of {noun} cannot be changed", field=fixed)
    return values
