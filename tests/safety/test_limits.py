"""Every text and every list in every request has a limit, and beyond it the caller is told so.

The fields come from the descriptors: a new one is met without a change here.
"""

from __future__ import annotations

import random
import resource
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from balsam import request_limits
from balsam.errors import ResourceExhausted
from balsam.fields import APPLICATION_FIELDS, JOB_FIELDS, LAUNCH_FIELDS, MAX_PARENTS, Phase
from balsam.rpc import MAX_MESSAGE_BYTES, shortened
from balsam.serving import Caller
from balsam.shares import SHARES, Share, Shares
from balsam.v1 import query_pb2
from balsam_jobstore.query import MAX_TESTS, MAX_VALUES
from balsam_jobstore.server.convert import MAX_MESSAGE, MAX_PATHS
from tests.fuzz import valid
from tests.fuzz.known import Known
from tests.support.odd_job_stores import job_store_after
from tests.support.processes import services
from tests.support.rpc_client import METHODS, Client, Refusal
from tests.support.sites import make_test_site, wait_until

TEXT = "x" * 1_200_000
"""Longer than any text may be; the longest, `data`, has a megabyte."""
LISTS = {
    "parents": MAX_PARENTS,
    "environ_vars": 10_000,
    "values": MAX_VALUES,
    "filters": MAX_TESTS,
    "paths": MAX_PATHS,
    "passages": 100,
}
"""Limits of lists that are not in `request_limits`."""
_TABLES = {"Job": JOB_FIELDS, "Application": APPLICATION_FIELDS, "Launch": LAUNCH_FIELDS}
_ANSWERED = {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}


@dataclass(frozen=True)
class Place:
    """A field of a request: the way to it, from the request."""

    method: str
    path: tuple[FieldDescriptor, ...]

    @property
    def field(self) -> FieldDescriptor:
        """The field."""
        return self.path[-1]

    def __str__(self) -> str:
        return f"{self.method}:{'.'.join(field.name for field in self.path)}"


def places() -> Iterator[Place]:
    """Every field that may hold much, of every request of the job store."""
    for name, method in METHODS.items():
        for path in _paths(method.input_type, ()):
            place = Place(name, path)
            if not _is_ignored(place):
                yield place


def _paths(descriptor: Descriptor, before: tuple[FieldDescriptor, ...]) -> Iterator[tuple[FieldDescriptor, ...]]:
    if any(field.containing_type is descriptor for field in before):
        return  # filters in filters
    for field in descriptor.fields:
        path = (*before, field)
        if field.is_repeated or field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            yield path
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            yield from _paths(field.message_type, path)


def _is_ignored(place: Place) -> bool:
    """What is not looked at at all: output-only fields, in requests; and what is cut where it is recorded."""
    owner = place.field.containing_type.name
    if place.field.name in request_limits.CUT:
        return True
    table = _TABLES.get(owner)
    if table is not None:
        spec = table[place.field.name]
        return spec.phase is Phase.NEVER and place.field.name != "python"
    # Reports are read in one place, which RecoverReports reaches without a session.
    return place.method == "SessionService/Work" and "Report" in {f.containing_type.name for f in place.path}


PLACES = list(places())


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    site = make_test_site(tmp_path_factory.mktemp("limits"))
    with services(site, "jobstore"):
        client = Client(site, patient=True)
        yield client
        client.close()


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_too_much_is_refused(client: Client, place: Place) -> None:
    refusals, answer = _refusals(client, place.method, _request(place))
    assert refusals, f"{place} was taken: {str(answer)[:500]}"
    assert all(code in _ANSWERED and len(message) < 2000 for code, _, message in refusals), refusals
    # Others of a batch may be refused as well: for a parent that was, or because there is no such job.
    assert any(code == "RESOURCE_EXHAUSTED" or field in _fields(place) for code, field, _ in refusals), refusals


def _refusals(client: Client, method: str, request: Any) -> tuple[list[tuple[str, str, str]], Any]:
    """(code, field, message) of the call, or of its items; and the answer, if there was one."""
    try:
        answer = client.call(method, request, timeout=60.0)
    except Refusal as refusal:
        return [(refusal.code, refusal.field, refusal.details)], None
    items = getattr(answer, "refusals", ())
    return [("INVALID_ARGUMENT", item.field, item.message) for item in items], answer


def _fields(place: Place) -> set[str]:
    """What an error may name: the field, or one that it is in. Of a test of a filter, the field that is tested."""
    return {field.name for field in place.path} | {
        "name" for f in place.path if f.containing_type is query_pb2.Test.DESCRIPTOR
    }


def _request(place: Place) -> Any:
    """A request of which all but one field could be a program's."""
    request = GetMessageClass(METHODS[place.method].input_type)()
    make = valid.REQUESTS.get(place.method.partition("/")[2])
    if make is not None and len(place.path) > 1 and place.path[0].name != "attach":
        make(request, random.Random(1), Known())
        if place.path[0].name in ("selector", "filter"):
            request.ClearField(place.path[0].name)
    message: Any = request
    for field in place.path[:-1]:
        message = _inner(message, field)
        if message.DESCRIPTOR is query_pb2.Test.DESCRIPTOR:
            message.field, message.op = "name", query_pb2.Test.EXACT
    _overfill(message, place.field)
    _mask(request, place)
    return request


def _inner(message: Any, field: FieldDescriptor) -> Any:
    """What a field holds: of a list the first."""
    inner = getattr(message, field.name)
    if field.is_repeated:
        return inner[0] if inner else inner.add()
    inner.SetInParent()
    return inner


def _mask(request: Any, place: Place) -> None:
    """Names the field in the mask beside its resource, without which it would not be looked at."""
    if place.field.containing_type.name not in _TABLES:
        return
    message: Any = request
    for field in place.path[:-2]:
        message = _inner(message, field)
    if "update_mask" in message.DESCRIPTOR.fields_by_name:
        message.update_mask.paths[:] = [place.field.name]


def _overfill(message: Any, field: FieldDescriptor) -> None:
    if not field.is_repeated:
        size = MAX_MESSAGE_BYTES + 1 if field.type == FieldDescriptor.TYPE_BYTES else len(TEXT)
        setattr(message, field.name, b"x" * size if field.type == FieldDescriptor.TYPE_BYTES else TEXT)
        return
    count = LISTS.get(field.name) or request_limits.limit_of(field)
    assert count is not None, f"{field.full_name} has no limit"
    items = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        for number in range(count + 1):
            items[f"V{number}"] = "x"
    elif field.message_type is not None:
        items.extend([GetMessageClass(field.message_type)()] * (count + 1))
    elif field.type == FieldDescriptor.TYPE_STRING:
        items.extend([str(uuid.UUID(int=1))] * (count + 1) if field.name == "parents" else ["x"] * (count + 1))
    else:
        items.extend([1] * (count + 1))


def test_a_message_that_is_too_large_is_refused(client: Client) -> None:
    with pytest.raises(Refusal) as caught:
        client.call("JobService/GetJob", b"\x0a" + b"\x80\x80\x80\x10" + b"x" * (2 * MAX_MESSAGE_BYTES))
    assert caught.value.code == "RESOURCE_EXHAUSTED"


def test_messages_for_people_are_cut_and_not_refused(client: Client) -> None:
    created = _create(client, "kept")
    request = GetMessageClass(METHODS["JobService/KillJobs"].input_type)(message=TEXT)
    request.selector.ids.job_ids.append(created)
    assert client.call("JobService/KillJobs", request).killed == 1
    found = client.call("JobService/GetJob", GetMessageClass(METHODS["JobService/GetJob"].input_type)(job_id=created))
    assert found.message == "x" * MAX_MESSAGE


def _create(client: Client, name: str) -> str:
    job_id = str(uuid.uuid4())
    request = GetMessageClass(METHODS["JobService/CreateJobs"].input_type)()
    request.jobs.add(job_id=job_id, name=name, args="true")
    assert client.call("JobService/CreateJobs", request).created == 1
    return job_id


def test_an_error_fits_into_what_grpc_carries() -> None:
    assert shortened("short é") == "short é"
    for text in ("x" * 100_000, "é" * 100_000, "😀" * 100_000, "\x1b" * 100_000):
        cut = shortened(text)
        assert cut.endswith(" ...")
        assert len(cut.encode()) <= 1510


# Shares of callers


OWNER = Caller(user="ada", role="owner")
RUN = Caller(user="ada", role="run", job_id="j1")


def test_a_caller_has_a_share_and_others_have_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("balsam.shares.SHARES", {"run": Share(2, 1)})
    shares = Shares()
    with shares.taken(RUN), shares.taken(RUN):
        with pytest.raises(ResourceExhausted, match="2 calls of job j1 are under way"), shares.taken(RUN):
            pass
        with shares.taken(OWNER), shares.taken(RUN, stream=True), shares.taken(Caller("ada", "run", "j2")):
            pass
    with shares.taken(RUN):
        pass
    assert not shares._under_way


def test_the_share_of_a_run_is_small_beside_that_of_the_owner() -> None:
    assert SHARES["run"].calls < SHARES["owner"].calls / 5
    assert SHARES["run"].streams < SHARES["owner"].streams / 5


def test_streams_beyond_the_share_of_a_caller_are_refused(tmp_path: Path) -> None:
    """The owner has thousands: a job store that gives three, in a process of its own."""
    site = make_test_site(tmp_path)
    watch = GetMessageClass(METHODS["EventService/WatchEvents"].input_type)()
    shares = "import balsam.shares as shares; shares.SHARES = {'owner': shares.Share(1000, 3)}"
    with job_store_after(shares, site):
        client = Client(site, patient=True)

        def opened() -> Any:
            stream = client.open("EventService/WatchEvents", watch)
            next(stream)
            return stream

        streams = [opened() for _ in range(3)]
        with pytest.raises(grpc.RpcError) as caught:
            opened()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 streams of" in str(caught.value.details())
        streams[0].cancel()
        wait_until(lambda: _succeeds(opened), what="a stream in the place of one that has ended", site=site)
        client.close()


def _succeeds(action: Callable[[], Any]) -> bool:
    try:
        action()
    except grpc.RpcError:
        return False
    return True


def test_a_job_store_takes_as_many_connections_as_it_may(tmp_path: Path) -> None:
    site = make_test_site(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with services(site, "jobstore") as running:
        now, _ = psutil.Process(running.pid("jobstore")).rlimit(psutil.RLIMIT_NOFILE)
    assert now >= min(hard, 65_536) if hard != resource.RLIM_INFINITY else now >= 65_536
    assert now >= soft
