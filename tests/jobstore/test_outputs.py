"""Outputs that pass through the job store, from launchers without processes to people."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

import balsam
from balsam.errors import NotFound
from balsam.outputs import NO_OUTPUT, NO_RUN, PIECE_BYTES
from balsam.site import Site
from balsam.v1 import job_pb2, job_service_pb2
from balsam.v1.output_service_pb2 import ReadOutputRequest
from balsam_jobstore.access import DENIED
from tests.support import people
from tests.support.hands import Hands, Rules, SendOutputRequest
from tests.support.odd_job_stores import job_store_after
from tests.support.processes import services
from tests.support.rpc_client import Client, Refusal, refusal
from tests.support.sites import make_test_site, wait_until

COMPLETE = SendOutputRequest(complete=True)
Take = Callable[..., tuple[Hands, str]]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site with a job store and the rules of a scheduler."""
    url = "sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    site = make_test_site(tmp_path, url)
    with services(site, "jobstore"):
        rules = Rules(site)
        yield site
        rules.close()


@pytest.fixture
def owner(site: Site) -> Iterator[Client]:
    """The owner of the site."""
    owner = Client(site)
    yield owner
    owner.close()


@pytest.fixture
def take(site: Site) -> Iterator[Take]:
    """Gives a launcher that has taken a new job of its user's, and the id of that."""
    with ExitStack() as stack:

        def one(token: str | None = None, *, sends_output: bool = True) -> tuple[Hands, str]:
            job_id = add(site, token)
            hands = Hands(site, token=token, sends_output=sends_output)
            stack.callback(hands.close)
            assert hands.take().job.job_id == job_id
            return hands, job_id

        yield one


def add(site: Site, token: str | None = None) -> str:
    """A new job of a user; None: of the owner."""
    client = Client(site, token)
    job = job_pb2.Job(job_id=str(uuid.uuid4()), name="a", workflow="w", args="true")
    client.call("JobService/CreateJobs", job_service_pb2.CreateJobsRequest(jobs=[job]))
    client.close()
    return job.job_id


def read(client: Client, job_id: str, **fields: Any) -> list[tuple[bytes, int]]:
    """What somebody reads of an output. Raises Refusal."""
    request = ReadOutputRequest(job_id=job_id, **fields)
    try:
        return [(answer.data, answer.offset) for answer in client.open("OutputService/ReadOutput", request)]
    except grpc.RpcError as error:
        raise refusal(error) from None


def test_what_a_launcher_sends_is_what_is_read(owner: Client, take: Take) -> None:
    hands, job_id = take()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, owner, job_id, offset=-7, follow=True)
        wanted = hands.wanted()
        assert (wanted.offset, wanted.follow) == (-7, True)
        pieces = [(b"x" * PIECE_BYTES, 3), (b"end", 3 + PIECE_BYTES)]
        hands.send_output(wanted, *(SendOutputRequest(data=data, offset=at) for data, at in pieces), COMPLETE)
        assert reading.result(30) == pieces


@pytest.mark.parametrize(
    ("last", "code", "said"),
    [
        (SendOutputRequest(problem="the disk is away"), "NOT_FOUND", "the disk is away"),
        (SendOutputRequest(data=b"x" * (PIECE_BYTES + 1)), "INVALID_ARGUMENT", "at most 65536 are allowed"),
        (SendOutputRequest(data=b"more"), "UNAVAILABLE", r"the line to the launcher on here \(pid 1\) broke"),
    ],
)
def test_one_that_is_not_sent_to_its_end_says_why(
    owner: Client, take: Take, last: SendOutputRequest, code: str, said: str
) -> None:
    hands, job_id = take()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, owner, job_id)
        with pytest.raises(Refusal):
            hands.send_output(hands.wanted(), SendOutputRequest(data=b"some"), last)
        with pytest.raises(Refusal, match=said) as caught:
            reading.result(30)
    assert caught.value.code == code


def test_a_launcher_of_an_earlier_version_is_not_waited_for(owner: Client, take: Take) -> None:
    _, job_id = take(sends_output=False)
    with pytest.raises(Refusal, match="is of Balsam 1, which does not send output") as caught:
        read(owner, job_id)
    assert caught.value.reason == NO_OUTPUT


def test_where_no_launcher_has_the_job_its_state_is_told(owner: Client, site: Site, take: Take) -> None:
    job_id = add(site)
    wait_until(lambda: "PREPROCESSED" in str(_refusal(owner, job_id).details))
    assert _refusal(owner, job_id).reason == NO_RUN


def _refusal(client: Client, job_id: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(client, job_id)
    return caught.value


def test_it_is_for_its_user_their_runs_and_the_owner_of_the_site(site: Site, owner: Client, take: Take) -> None:
    ann, bob = people.add_user(owner, "ann"), people.add_user(owner, "bob")
    vic = people.add_user(owner, "vic", people.VIEWER)
    hands, job_id = take(ann)
    add(site, ann)
    run = hands.take().token
    for token in (owner.token, ann, run):
        client = Client(site, token)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read, client, job_id)
            hands.send_output(hands.wanted(), SendOutputRequest(data=b"said"), COMPLETE)
            assert reading.result(30) == [(b"said", 0)]
        client.close()
    _, of_owner = take()
    for token, asked in ((bob, job_id), (vic, job_id), (ann, of_owner), (run, of_owner)):
        client = Client(site, token)
        assert _refusal(client, asked).reason == DENIED
        client.close()


def test_another_launcher_cannot_send_in_the_place_of_the_one_that_is_asked(owner: Client, take: Take) -> None:
    hands, job_id = take()
    other, _ = take()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, owner, job_id)
        wanted = hands.wanted()
        with pytest.raises(Refusal, match="nobody reads this output any more"):
            other.send_output(wanted, SendOutputRequest(data=b"forged"), COMPLETE)
        hands.send_output(wanted, SendOutputRequest(data=b"true"), COMPLETE)
        assert reading.result(30) == [(b"true", 0)]


def test_when_nobody_reads_any_more_the_launcher_is_let_go(site: Site, take: Take) -> None:
    hands, job_id = take()
    leaving = Client(site)
    stream = leaving.open("OutputService/ReadOutput", ReadOutputRequest(job_id=job_id, follow=True))
    with ThreadPoolExecutor(1) as pool:
        piece = SendOutputRequest(data=b"x" * PIECE_BYTES)
        sending = pool.submit(hands.send_output, hands.wanted(), *[piece] * 10_000)
        next(stream)
        stream.cancel()
        sending.result(30)  # it was answered before it had sent all
    leaving.close()


def test_a_launcher_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    site = make_test_site(tmp_path)
    code = "from balsam_jobstore import output_reads\noutput_reads.ANSWER_SECONDS = 0.2"
    with job_store_after(code, site):
        rules, owner = Rules(site), Client(site)
        job_id = add(site)
        hands = Hands(site, sends_output=True)
        hands.take()
        assert "does not send the output; try again" in _refusal(owner, job_id).details
        with pytest.raises(Refusal, match="nobody reads this output any more"):
            hands.send_output(hands.wanted(), COMPLETE)
        for one in (hands, rules, owner):
            one.close()


def test_a_job_store_of_an_earlier_version_is_named_as_the_reason(tmp_path: Path) -> None:
    site = make_test_site(tmp_path)
    code = "from balsam_jobstore import __main__\n__main__.add_OutputServiceServicer_to_server = lambda *given: None"
    with job_store_after(code, site):
        client = balsam.connect(site.path)
        with pytest.raises(NotFound, match="the job store is of an earlier version, which passes no output on"):
            list(client.outputs.read(str(uuid.uuid4())))
