"""The tables of the library say what the protos say."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from balsam.fields import APPLICATION_FIELDS, JOB_FIELDS, LAUNCH_FIELDS, LAUNCH_OVER, LAUNCH_STATES, Field, Kind
from balsam.states import Actor, State
from balsam.v1 import application_pb2, event_pb2, job_pb2, launch_pb2, lease_pb2, session_pb2

_TYPES = {
    Kind.TEXT: {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_ENUM},
    Kind.INTEGER: {FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64},
    Kind.NUMBER: {FieldDescriptor.TYPE_DOUBLE},
    Kind.BOOLEAN: {FieldDescriptor.TYPE_BOOL},
    Kind.ENVIRON: {FieldDescriptor.TYPE_MESSAGE},
    Kind.JSON: {FieldDescriptor.TYPE_STRING},
    Kind.IDS: {FieldDescriptor.TYPE_STRING},
    Kind.ID: {FieldDescriptor.TYPE_STRING},
    Kind.LAUNCH: {FieldDescriptor.TYPE_INT64},
    Kind.STATE: {FieldDescriptor.TYPE_ENUM},
    Kind.TIME: {FieldDescriptor.TYPE_MESSAGE},
}


@pytest.mark.parametrize(
    ("table", "proto"),
    [(State, job_pb2.Job.State.DESCRIPTOR), (Actor, event_pb2.Event.Actor.DESCRIPTOR)],
)
def test_an_enum_has_the_names_and_numbers_of_the_proto(table: type[enum.IntEnum], proto: EnumDescriptor) -> None:
    stored = {value.name: value.number for value in proto.values if value.number}
    assert {member.name: member.value for member in table} == stored


def test_the_states_of_a_launch_are_those_of_the_proto_in_order() -> None:
    assert ("STATE_UNSPECIFIED", *LAUNCH_STATES) == tuple(v.name for v in launch_pb2.Launch.State.DESCRIPTOR.values)
    assert set(LAUNCH_STATES) >= LAUNCH_OVER


@pytest.mark.parametrize(
    ("table", "proto"),
    [
        (JOB_FIELDS, job_pb2.Job.DESCRIPTOR),
        (APPLICATION_FIELDS, application_pb2.Application.DESCRIPTOR),
        (LAUNCH_FIELDS, launch_pb2.Launch.DESCRIPTOR),
    ],
)
def test_a_resource_has_the_fields_of_the_proto(table: Mapping[str, Field], proto: Descriptor) -> None:
    assert list(table) == [field.name for field in proto.fields]
    assert [name for name in table if proto.fields_by_name[name].type not in _TYPES[table[name].kind]] == []


@pytest.mark.parametrize(
    ("table", "proto"), [(JOB_FIELDS, job_pb2.Job.DESCRIPTOR), (LAUNCH_FIELDS, launch_pb2.Launch.DESCRIPTOR)]
)
def test_a_default_that_is_not_zero_can_be_told_from_an_absent_value(
    table: Mapping[str, Field], proto: Descriptor
) -> None:
    """Absent means the default, so a value that protos cannot leave out needs the default zero."""
    fields = proto.fields_by_name
    unclear = [
        name
        for name, field in table.items()
        if _is_scalar(fields[name]) and field.default and not fields[name].has_presence
    ]
    assert unclear == []


@pytest.mark.parametrize("module", [job_pb2, application_pb2, launch_pb2, event_pb2, lease_pb2, session_pb2])
def test_every_enum_starts_with_a_value_that_is_never_stored(module: Any) -> None:
    for message in module.DESCRIPTOR.message_types_by_name.values():
        for proto in message.enum_types:
            assert proto.values_by_number[0].name.endswith("_UNSPECIFIED")


def _is_scalar(field: FieldDescriptor) -> bool:
    return field.type not in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_ENUM, FieldDescriptor.TYPE_STRING)
