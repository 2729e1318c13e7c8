"""Nonsense from the descriptors: whatever a message holds, the answer is one that a caller can understand."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from balsam.fields import JOB_FIELDS
from balsam.site import Site
from balsam.v1 import job_pb2, job_service_pb2, session_service_pb2
from tests.support.processes import services
from tests.support.rpc_client import METHODS, Client, Refusal, empty

CALLS = 60
"""Of each method."""

UNDERSTOOD = {
    "OK",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "ABORTED",
    "PERMISSION_DENIED",
    "DEADLINE_EXCEEDED",  # a stream that waits for something to happen
}

TEXTS = [
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
    '{"x": 1}',
    "[1]",
    "{",
    "data",
]
NUMBERS = [0, 1, 2, -1, 7, 99, 1000, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)]
FLOATS = [0.0, 1.0, -1.0, 0.5, float("nan"), float("inf"), float("-inf"), 1e308]


class Nonsense:
    """Random messages that are valid in form only."""

    def __init__(self, seed: str, known: list[str]) -> None:
        self._random = random.Random(seed)
        self._known = known

    def fill(self, message: Message, depth: int = 0) -> Any:
        """Sets some fields of a message."""
        wide = len(message.DESCRIPTOR.fields) > 20  # with all of them set, one would surely be refused first
        share = 0.05 if wide else 0.45 if depth else 0.75
        for field in message.DESCRIPTOR.fields:
            if self._random.random() < (0.9 if field.name == "job_id" else share) and depth < 7:
                self._set(message, field, depth)
        return message

    def _set(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        here = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            here[self._text(field)] = self._text(field)
        elif field.is_repeated:
            for _ in range(self._random.randint(0, 3)):
                if field.message_type is not None:
                    self.fill(here.add(), depth + 1)
                else:
                    here.append(self._value(field))
        elif field.message_type is not None:
            here.SetInParent()
            self.fill(here, depth + 1)
        else:
            setattr(message, field.name, self._value(field))

    def _value(self, field: FieldDescriptor) -> Any:
        if field.type == FieldDescriptor.TYPE_STRING:
            return self._text(field)
        if field.type == FieldDescriptor.TYPE_BOOL:
            return self._random.random() < 0.5
        if field.type == FieldDescriptor.TYPE_DOUBLE:
            return self._random.choice(FLOATS)
        if field.type == FieldDescriptor.TYPE_ENUM:
            return self._random.choice([value.number for value in field.enum_type.values] + [99, -1])
        small = field.type == FieldDescriptor.TYPE_INT32
        return self._random.choice([n for n in NUMBERS if not small or -(2**31) <= n < 2**31])

    def _text(self, field: FieldDescriptor) -> str:
        ids = [*self._known, str(uuid.UUID(int=self._random.getrandbits(128)))]
        if "id" in field.name.split("_") or field.name in ("ids", "job_ids", "parents"):
            return self._random.choice([*ids * 3, "x"])
        if field.name in ("field", "paths", "group_by"):
            return self._random.choice([*JOB_FIELDS, "parents", "children", "nothing"])
        return self._random.choice([*TEXTS, *ids])


def test_nonsense_is_answered_in_terms_of_the_caller(any_site: Site, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    with services(any_site, "jobstore"):
        client = Client(any_site)
        opened = session_service_pb2.OpenSessionRequest(
            session={"kind": 2, "job_mode": "auto"}, request_id=str(uuid.uuid4())
        )  # type: ignore[arg-type]
        known = [client.call("SessionService/OpenSession", opened).session.session_id]
        jobs = [job_pb2.Job(job_id=str(uuid.UUID(int=i + 1)), name=f"j{i}") for i in range(30)]
        assert client.call("JobService/CreateJobs", job_service_pb2.CreateJobsRequest(jobs=jobs)).created == 30
        known += [job.job_id for job in jobs]
        for method in sorted(METHODS, key=lambda method: "Close" in method):
            nonsense = Nonsense(method, known)
            for number in range(CALLS):
                request = nonsense.fill(empty(method))
                code = _code(client, method, request)
                assert code in UNDERSTOOD, f"{method} {number}: {code}\n{request}"
                seen[code] += 1
        assert client.call("JobService/CreateJobs", job_service_pb2.CreateJobsRequest(jobs=jobs[:1])).refusals == []
        client.close()
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= seen.keys()


def _code(client: Client, method: str, request: Any) -> str:
    try:
        client.call(method, request, timeout=0.3 if METHODS[method].server_streaming else 20)
    except Refusal as refused:
        return refused.code if "\n" not in refused.details else f"{refused.code} in many lines"
    return "OK"


@pytest.mark.parametrize("method", METHODS)
def test_random_bytes_are_answered_in_terms_of_the_caller(method: str) -> None:
    """Of the parsing alone: what a service does with a message that is none is tested once for each method."""
    from balsam.serving import _lenient, _Malformed

    parse = _lenient(type(empty(method)).FromString)
    generator = random.Random(method)
    for _ in range(300):
        data = bytes(generator.getrandbits(8) for _ in range(generator.randint(0, 30)))
        assert isinstance(parse(data), (_Malformed, type(empty(method))))
