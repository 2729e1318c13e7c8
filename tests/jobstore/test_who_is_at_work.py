"""ListSessions: who is at work, what each could take on, and who holds a job."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from balsam.site import Site
from balsam.v1 import job_pb2, job_service_pb2, launch_pb2, launch_service_pb2, session_service_pb2
from tests.support.hands import Hands, Rules
from tests.support.processes import services
from tests.support.rpc_client import Client, Refusal
from tests.support.sites import wait_until

Request = session_service_pb2.ListSessionsRequest
NodeKind = session_service_pb2.WorkRequest.NodeKind


@pytest.fixture
def client(any_site: Site) -> Iterator[Client]:
    """A caller of a job store, over both databases."""
    with services(any_site, "jobstore"):
        client = Client(any_site)
        yield client
        client.close()


@pytest.fixture
def hands(any_site: Site, client: Client) -> Iterator[Hands]:
    """A launcher that takes a job when it is told to."""
    rules = Rules(any_site)
    hands = Hands(any_site, nodes=8)
    yield hands
    hands.close()
    rules.close()


def add(client: Client) -> str:
    job_id = str(uuid.uuid4())
    request = job_service_pb2.CreateJobsRequest(jobs=[job_pb2.Job(job_id=job_id, name="a", num_nodes=2)])
    assert client.call("JobService/CreateJobs", request).created == 1
    return job_id


def test_who_holds_a_job_is_said(client: Client, hands: Hands) -> None:
    job_id, other = add(client), add(client)
    assert client.call("SessionService/ListSessions", Request(job_id=job_id)).holder == ""
    held = hands.take().job.job_id
    assert held == job_id
    assert client.call("SessionService/ListSessions", Request(job_id=job_id)).holder == hands.session_id
    for asked in (other, str(uuid.uuid4()), ""):
        assert client.call("SessionService/ListSessions", Request(job_id=asked)).holder == ""


def test_an_id_that_is_none_is_refused(client: Client) -> None:
    with pytest.raises(Refusal) as caught:
        client.call("SessionService/ListSessions", Request(job_id="x"))
    assert (caught.value.code, caught.value.field) == ("INVALID_ARGUMENT", "job_id")


def test_what_a_launcher_takes_is_said_less_what_it_was_granted_since(client: Client, hands: Hands) -> None:
    add(client)
    hands.say(
        nodes=8.0,
        jobs=10,
        largest=7,
        minutes=30,
        node_kinds=[NodeKind(count=8, cores=4, gpus=2)],
        closed_nodes=1,
    )

    def granted() -> session_service_pb2.WorkRequest.Credit | None:
        credit = client.call("SessionService/ListSessions", Request()).credits.get(hands.session_id)
        return credit if credit is not None and credit.nodes == 6.0 else None

    credit = wait_until(granted, what="a job of two nodes to be granted")
    assert credit is not None
    assert (credit.jobs, credit.largest, credit.minutes, credit.closed_nodes, credit.closing) == (9, 7, 30, 1, False)
    assert [(kind.count, kind.cores, kind.gpus) for kind in credit.node_kinds] == [(8, 4, 2)]


def test_a_launcher_that_drains_says_so(client: Client, hands: Hands) -> None:
    hands.say(closing=True)
    wait_until(lambda: client.call("SessionService/ListSessions", Request()).credits[hands.session_id].closing)


def test_what_the_launcher_of_a_launch_found_is_said_when_that_has_ended(client: Client, any_site: Site) -> None:
    created = launch_service_pb2.CreateLaunchRequest(launch=launch_pb2.Launch(), request_id=str(uuid.uuid4()))
    launch = client.call("LaunchService/CreateLaunch", created).launch_id
    assert not client.call("SessionService/ListSessions", Request()).launch_nodes
    hands = Hands(any_site, launch=launch)
    hands.say(node_kinds=[NodeKind(count=2, cores=8, gpus=4), NodeKind(count=1, cores=8)])
    wait_until(lambda: client.call("SessionService/ListSessions", Request()).launch_nodes)
    hands.close()
    answer = client.call("SessionService/ListSessions", Request())
    found = answer.launch_nodes[launch].node_kinds
    assert not answer.sessions
    assert [(kind.count, kind.cores, kind.gpus) for kind in found] == [(2, 8, 4), (1, 8, 0)]


def test_a_launcher_that_has_ended_is_told_to_who_asks(client: Client, any_site: Site) -> None:
    rules, first = Rules(any_site), Hands(any_site, nodes=8)
    (opened,) = (one for one in client.call("SessionService/ListSessions", Request()).sessions if one.nodes)
    assert not opened.HasField("end_time")
    first.close()
    rules.close()  # a scheduler's session is none of a launcher
    asked = Request(ended_after=opened.create_time)
    wait_until(lambda: client.call("SessionService/ListSessions", asked).ended)
    assert not client.call("SessionService/ListSessions", Request()).ended
    (ended,) = client.call("SessionService/ListSessions", asked).ended
    assert (ended.session_id, ended.kind, ended.nodes, ended.user) == (
        opened.session_id,
        opened.kind,
        8,
        opened.user,
    )
    assert ended.create_time == opened.create_time
    assert ended.end_time.ToMicroseconds() > opened.create_time.ToMicroseconds()
    assert not client.call("SessionService/ListSessions", Request(ended_after=ended.end_time)).ended
    for seconds, told in ((-(2**62), 1), (2**62, 0)):
        far = Request()
        far.ended_after.seconds = seconds
        assert len(client.call("SessionService/ListSessions", far).ended) == told
