"""Messages for a fuzzer: valid ones, nonsense of the right shape, valid ones with one thing wrong, and bytes.

All of them come from the descriptors, so a new field or rpc is met without a change here.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from balsam.fields import JOB_FIELDS
from balsam.v1.query_pb2 import Filter
from tests.fuzz import valid
from tests.fuzz.known import Known

SURROGATE = "\1\2\3"
"""Stands for a lone surrogate, which no string field takes: replaced by its bytes when the message is one."""
TEXTS = [
    *(
        "",
        "a",
        "wf1",
        "a\0b",
        "x" * 300,
        "../x",
        "%",
        "\\",
        "'",
        '"',
        "é漢😀",
        "*",
        "[",
        "(",
        "a+",
        SURROGATE,
        "\u2028",
    ),
    *('{"x": 1}', "[1]", "{", '{"x": NaN}', '{"x": 1e999}', '{"x": "\\ud800"}', '{"x": "\\u0000"}', "[" * 2000, "data"),
    *(
        "/",
        "/dev/null/x",
        "\x1b[31m",
        "a\nb",
        "-1",
        "1" * 5000,
        "'; DROP TABLE job; --",
        "{parent}",
        "{reason",
        "(a+)+$",
    ),
]
NUMBERS = [0, 1, 2, -1, 7, 99, 1000, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 2**53 + 1]
FLOATS = [0.0, 1.0, -1.0, 0.5, float("nan"), float("inf"), float("-inf"), 1e308, -0.0, 5e-324]
_FIELD_NAMES = ("field", "paths", "group_by")
_GIANT = 3000


class Messages:
    """Random requests of one caller."""

    def __init__(self, chance: random.Random, known: Known) -> None:
        self._chance = chance
        self._known = known
        self._giant = False

    def valid(self, method: MethodDescriptor) -> Any:
        """A request that could be a program's, with ids that exist or did."""
        request = GetMessageClass(method.input_type)()
        make: Callable[..., Any] | None = valid.REQUESTS.get(method.name)
        if make is not None:
            make(request, self._chance, self._known)
        return request

    def request(self, method: MethodDescriptor) -> bytes:
        """Any request of a method, as bytes."""
        kind = self._chance.random()
        if kind < 0.3:
            return bytes(self.valid(method).SerializeToString())
        self._giant = self._chance.random() < 0.002
        if kind < 0.6:
            message = self.valid(method)
            self._spoil(message)
        else:
            message = self._fill(GetMessageClass(method.input_type)())
        data = message.SerializeToString().replace(SURROGATE.encode(), b"\xed\xa0\x80")
        if kind < 0.75:
            return bytes(data)
        if kind < 0.8:
            return bytes(data) + self._unknown_field()
        if kind < 0.85:
            return bytes(data) + self._deep_filter(method)
        return self._damaged(bytes(data)) if kind < 0.93 else self._chance.randbytes(self._chance.randint(0, 60))

    # Of the right shape

    def _fill(self, message: Message, depth: int = 0) -> Any:
        wide = len(message.DESCRIPTOR.fields) > 20  # with all of them set, one would surely be refused first
        share = 0.05 if wide else 0.45 if depth else 0.75
        for field in message.DESCRIPTOR.fields:
            if depth < 7 and self._chance.random() < (0.9 if field.name == "job_id" else share):
                self._set(message, field, depth)
        return message

    def _spoil(self, message: Message) -> None:
        """Sets one field, somewhere in the message, to anything."""
        while True:
            below = [
                (field, value)
                for field, value in message.ListFields()
                if field.message_type is not None and not field.message_type.GetOptions().map_entry
            ]
            if not below or self._chance.random() < 0.3:
                break
            field, value = self._chance.choice(below)
            message = self._chance.choice(value) if field.is_repeated else value
        if message.DESCRIPTOR.fields:
            field = self._chance.choice(message.DESCRIPTOR.fields)
            if self._chance.random() < 0.2:
                message.ClearField(field.name)
            self._set(message, field, 4)

    def _set(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        here = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            here[self._text(field)] = self._text(field)
        elif field.is_repeated:
            count = _GIANT if self._giant else self._chance.randint(0, 3)
            self._giant = False
            for _ in range(count):
                if field.message_type is not None:
                    self._fill(here.add(), depth + 1)
                else:
                    here.append(self._value(field))
        elif field.message_type is not None:
            here.SetInParent()
            self._fill(here, depth + 1)
        else:
            setattr(message, field.name, self._value(field))

    def _value(self, field: FieldDescriptor) -> Any:
        chance = self._chance
        if field.type == FieldDescriptor.TYPE_STRING:
            return self._text(field)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return chance.choice([b"", b"{}\n", chance.randbytes(chance.randint(1, 200))])
        if field.type == FieldDescriptor.TYPE_BOOL:
            return chance.random() < 0.5
        if field.type == FieldDescriptor.TYPE_DOUBLE:
            return chance.choice(FLOATS)
        if field.type == FieldDescriptor.TYPE_ENUM:
            return chance.choice([value.number for value in field.enum_type.values] + [99, -1])
        if field.name in ("handle", "token"):
            return self._known.lease(chance)[field.name == "token"]
        known = self._known.pick(field.name, chance)
        if isinstance(known, int) and chance.random() < 0.6:
            return known
        small = field.type == FieldDescriptor.TYPE_INT32
        return chance.choice([n for n in NUMBERS if not small or -(2**31) <= n < 2**31])

    def _text(self, field: FieldDescriptor) -> str:
        chance = self._chance
        known = self._known.pick(field.name, chance)
        if isinstance(known, str) and chance.random() < 0.7:
            return known
        if field.name in _FIELD_NAMES and chance.random() < 0.9:
            return chance.choice([*JOB_FIELDS, "parents", "children", "nothing", "name", "executable", "nodes"])
        if field.name.endswith("id") and chance.random() < 0.5:
            return str(uuid.UUID(int=chance.getrandbits(128)))
        return chance.choice(TEXTS)

    # Bytes

    def _damaged(self, data: bytes) -> bytes:
        chance = self._chance
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            at = chance.randint(0, len(damaged))
            change = chance.randrange(4)
            if change == 0 and at < len(damaged):
                damaged[at] ^= 1 << chance.randrange(8)
            elif change == 1:
                del damaged[at:]
            elif change == 2:
                damaged[at:at] = chance.randbytes(chance.randint(1, 4))
            else:
                damaged[at:at] = damaged[: chance.randint(0, len(damaged))]
        return bytes(damaged)

    def _unknown_field(self) -> bytes:
        number = self._chance.choice([150, 5000, 2**29 - 1])
        return _length_delimited(number, self._chance.randbytes(self._chance.randint(0, 40)))

    def _deep_filter(self, method: MethodDescriptor) -> bytes:
        """A filter in filters: what comes twice in a message is merged, so that it need only be appended."""
        names = {field.name: field for field in method.input_type.fields}
        field = names.get("filter") or names.get("selector")
        if field is None:
            return b""
        data = b""
        within = Filter.DESCRIPTOR.fields_by_name["not"].number
        for _ in range(self._chance.choice([5, 40, 59, 61, 90, 200, 3000])):
            data = _length_delimited(within, data)
        if field.name == "selector":
            data = _length_delimited(field.message_type.fields_by_name["filter"].number, data)
        return _length_delimited(field.number, data)


def _length_delimited(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)
