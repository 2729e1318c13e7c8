"""Answers about large jobs and long messages: in parts, each of which can be sent, and nothing is left out."""

from __future__ import annotations

import json
import queue
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from balsam.rpc import MAX_MESSAGE_BYTES
from balsam.site import Site
from balsam.states import State
from balsam.v1 import (
    application_pb2,
    application_service_pb2,
    event_service_pb2,
    job_pb2,
    job_service_pb2,
    session_pb2,
    session_service_pb2,
)
from balsam_jobstore import reading
from balsam_jobstore.query import Order
from balsam_jobstore.server.convert import MAX_MESSAGE, event_text
from balsam_scheduler.rules import RULES
from tests.support.processes import services
from tests.support.rpc_client import Client
from tests.support.sites import make_test_site
from tests.support.store import Bench, job

jobs_pb, events_pb, work_pb = job_service_pb2, event_service_pb2, session_service_pb2
MIB = 1024 * 1024
DATA = json.dumps({"x": "y" * (MIB - 100)})
VARIABLES = {f"V{i}": "y" * 65_000 for i in range(16)}


def read_all(bench: Bench, fields: list[str], size: int = 1000, order: tuple[Order, ...] = ()) -> list[list[str]]:
    """Names of the jobs, page by page."""
    pages, token = [], ""
    while True:
        with bench.database.reader() as connection:
            found, token = reading.list_jobs(
                connection, bench.database.is_sqlite, None, order, size, token, ["name", *fields]
            )
        pages.append([values["name"] for values in found])
        if not token:
            return pages


def test_a_page_of_large_jobs_ends_early_and_the_next_goes_on(bench: Bench) -> None:
    names = [f"large{i:02}" for i in range(20)]
    bench.create(*[job(name, data={"x": "y" * (MIB - 100)}) for name in names], job("small"))
    pages = read_all(bench, ["data"])
    assert [len(page) for page in pages] == [8, 8, 5]
    assert [name for page in pages for name in page] == [*names, "small"]
    backwards = read_all(bench, ["data"], order=(Order("name", descending=True),))
    assert [name for page in backwards for name in page] == ["small", *reversed(names)]
    assert read_all(bench, []) == [[*names, "small"]]  # without what makes them large, all fit


def test_a_page_of_jobs_with_many_parents_ends_early(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_BYTES", 2 * 40 * 25)
    parents = [bench.add(f"parent{i}") for i in range(10)]
    for i in range(5):
        bench.add(f"child{i}", parents=parents)
    pages = read_all(bench, ["parents"])
    assert [len(page) for page in pages] == [12, 2, 1]
    assert pages[-1] == ["child4"]


@pytest.mark.parametrize(("text", "kept"), [("x", MAX_MESSAGE), ("é", MAX_MESSAGE // 2), ("😀", MAX_MESSAGE // 4)])
def test_a_message_of_the_history_is_cut_by_its_bytes(text: str, kept: int) -> None:
    assert event_text(text * MAX_MESSAGE) == text * kept
    assert event_text("a" + "é" * MAX_MESSAGE) == "a" + "é" * (MAX_MESSAGE // 2 - 1)


# As processes


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = make_test_site(tmp_path_factory.mktemp("large"), "sqlite")
    with services(site, "jobstore"):
        yield site


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    client = Client(site)
    yield client
    client.close()


def add(client: Client, workflow: str, count: int, **fields: Any) -> list[str]:
    ids = [str(uuid.uuid4()) for _ in range(count)]
    for start in range(0, count, 4):
        new = [job_pb2.Job(job_id=id_, workflow=workflow, **fields) for id_ in ids[start : start + 4]]
        assert client.call("JobService/CreateJobs", jobs_pb.CreateJobsRequest(jobs=new)).created == len(new)
    return ids


def test_jobs_that_are_too_large_for_one_message_are_listed_all_the_same(client: Client) -> None:
    ids, token = add(client, "listed", 20, data=DATA), ""
    found: list[str] = []
    while True:
        request = jobs_pb.ListJobsRequest(page_size=10_000, page_token=token)
        answer = client.call("JobService/ListJobs", request)
        found += [job.job_id for job in answer.jobs if job.workflow == "listed"]
        token = answer.next_page_token
        if not token:
            break
    assert found == ids


def open_session(client: Client, kind: int, workflow: str = "") -> str:
    session = session_pb2.Session(kind=kind, host="here", job_mode="auto", workflow_filter=workflow)  # type: ignore[arg-type]
    request = work_pb.OpenSessionRequest(session=session, request_id=str(uuid.uuid4()))
    return str(client.call("SessionService/OpenSession", request).session.session_id)


class Line:
    """The line of a session that takes all it can get, and holds nothing when it opens."""

    def __init__(self, client: Client, session_id: str) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers = client.stream("SessionService/Work", iter(self._requests.get, None), timeout=60.0)
        self._requests.put(work_pb.WorkRequest(attach=work_pb.WorkRequest.Attach(session_id=session_id)))
        self._seen = 0

    def take(self, count: int) -> tuple[int, set[str]]:
        """Waits for so many grants; gives the size of the largest message [bytes], and the programs that were told."""
        largest, granted, programs = 0, 0, set()
        for answer in self._answers:
            largest = max(largest, answer.ByteSize())
            programs |= {program.name for program in answer.programs}
            known = {program.program_id for program in answer.programs}
            granted += len(answer.grants)
            assert len(known) == len(answer.programs)
            if granted >= count:
                break
            self._seen = answer.grants_sent or self._seen
            credit = work_pb.WorkRequest.Credit(nodes=500, jobs=500, largest=1, grants_seen=self._seen)
            self._requests.put(work_pb.WorkRequest(credit=credit))
        assert granted == count
        return largest, programs

    def close(self) -> None:
        self._requests.put(None)
        self._answers.cancel()


def test_large_jobs_and_programs_reach_their_launcher(client: Client) -> None:
    scheduler = open_session(client, session_pb2.Session.SCHEDULER)
    client.call("SessionService/RegisterRules", work_pb.RegisterRulesRequest(session_id=scheduler, rules=RULES))
    names = [f"large {i}" for i in range(30)]
    for name in names:
        new = application_pb2.Application(name=name, executable="true " + "x" * 120_000)
        request = application_service_pb2.CreateApplicationRequest(application=new)
        client.call("ApplicationService/CreateApplication", request)
        add(client, "granted", 1, application=name, environ_vars=VARIABLES, args="y" * 120_000)
    launcher = open_session(client, session_pb2.Session.LAUNCHER, "granted")
    for _ in range(2):  # the second has seen nothing of what the first was given
        line = Line(client, launcher)
        largest, programs = line.take(30)
        line.close()
        assert largest < MAX_MESSAGE_BYTES
        assert programs == set(names)
    for session_id in (launcher, scheduler):
        client.call("SessionService/CloseSession", work_pb.CloseSessionRequest(session_id=session_id))


def test_long_messages_end_no_stream_of_events(client: Client) -> None:
    ids = [str(uuid.uuid4()) for _ in range(3000)]
    new = [job_pb2.Job(job_id=id_, workflow="told") for id_ in ids]
    before = client.call("JobService/CreateJobs", jobs_pb.CreateJobsRequest(jobs=new)).sequence
    watch = events_pb.WatchEventsRequest(after_sequence=before)
    watching = client.open("EventService/WatchEvents", watch, timeout=60.0)
    next(watching)
    selector = jobs_pb.JobSelector(ids=jobs_pb.JobSelector.Ids(job_ids=ids))
    client.call("JobService/KillJobs", jobs_pb.KillJobsRequest(selector=selector, message="😀" * 8000))

    def killed(answers: Any) -> set[str]:
        found: set[str] = set()
        for answer in answers:
            found |= {event.job_id for event in answer.events if State.USER_KILLED in event.states}
            if found >= set(ids):
                break
        return found

    assert killed(watching) == set(ids)
    watching.cancel()
    again = client.open("EventService/WatchEvents", watch, timeout=60.0)
    assert killed(again) == set(ids)
    again.cancel()
    assert killed(_pages(client, before)) == set(ids)


def _pages(client: Client, after: int) -> Iterator[events_pb.ListEventsResponse]:
    more = True
    while more:
        answer = client.call(
            "EventService/ListEvents", events_pb.ListEventsRequest(page_size=10_000, after_sequence=after)
        )
        more, after = answer.more, answer.events[-1].sequence
        yield answer
