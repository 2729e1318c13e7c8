"""The library asks again for what it had no answer to, and what it asks for is done once."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from balsam.errors import Conflict, ResourceExhausted
from balsam.rpc import MAX_MESSAGE_BYTES, Connection
from balsam.site import Site
from balsam.v1 import application_pb2, application_service_pb2
from balsam.v1.application_service_pb2_grpc import ApplicationServiceStub
from tests.support.dumps import dump_of_site
from tests.support.odd_job_stores import job_store_after
from tests.support.processes import services
from tests.support.relay import Relay
from tests.support.sites import wait_until

pb = application_service_pb2


def new_app(name: str = "a") -> pb.CreateApplicationRequest:
    return pb.CreateApplicationRequest(application=application_pb2.Application(name=name, executable="true"))


def test_each_call_of_the_library_is_a_request_of_its_own(site: Site) -> None:
    with services(site, "jobstore"), contextlib.closing(Connection(site)) as connection:
        request = new_app()
        connection.call(ApplicationServiceStub, "CreateApplication", request)
        assert not request.request_id
        with pytest.raises(Conflict, match="exists already"):
            connection.call(ApplicationServiceStub, "CreateApplication", request)


def test_a_caller_whose_line_breaks_before_the_answer_gets_it_from_the_next_job_store(any_site: Site) -> None:
    with services(any_site, "jobstore") as running, Relay(any_site) as relay, ThreadPoolExecutor(1) as pool:
        connection = Connection(any_site, retry_seconds=30)
        connection.call(ApplicationServiceStub, "ListApplications", pb.ListApplicationsRequest())  # opens the line
        relay.hold_answers()
        answer = pool.submit(connection.call, ApplicationServiceStub, "CreateApplication", new_app())
        wait_until(lambda: dump_of_site(any_site)["application"], what="the effect")
        running.kill("jobstore")
        relay.close()
        running.start("jobstore")
        assert answer.result(timeout=30).revision == 1
        assert len(dump_of_site(any_site)["application"]) == 1
        connection.close()


def test_who_is_told_that_there_is_too_much_under_way_tries_again(site: Site) -> None:
    """A job store that takes one call of each caller at a time."""
    shares = "import balsam.shares as shares; shares.SHARES = {'owner': shares.Share(1, 100)}"

    def create(name: str) -> int:
        with contextlib.closing(Connection(site, retry_seconds=60)) as connection:
            return sum(
                connection.call(ApplicationServiceStub, "CreateApplication", new_app(f"{name}{number}")).revision
                for number in range(20)
            )

    with job_store_after(shares, site), ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, "abcdefgh"))
    assert made == [20] * 8
    assert len(dump_of_site(site)["application"]) == 160


def test_a_message_that_is_too_large_is_refused_at_once(site: Site) -> None:
    with services(site, "jobstore"), contextlib.closing(Connection(site, retry_seconds=60)) as connection:
        request = new_app()
        request.application.description = "x" * MAX_MESSAGE_BYTES
        began = time.monotonic()
        with pytest.raises(ResourceExhausted, match="bytes, and at most"):
            connection.call(ApplicationServiceStub, "CreateApplication", request)
        assert time.monotonic() - began < 30


def test_many_callers_lose_and_double_nothing_when_the_job_store_is_killed(any_site: Site) -> None:
    updates = 40
    started = threading.Semaphore(0)

    def work(name: str) -> int:
        connection = Connection(any_site, retry_seconds=30)
        with contextlib.closing(connection):
            request: Any = new_app(name)
            made = connection.call(ApplicationServiceStub, "CreateApplication", request)
            for number in range(updates):
                request = pb.UpdateApplicationRequest(
                    application=application_pb2.Application(name=name, description=str(number)),
                    expected_revision=made.revision,
                )
                request.update_mask.paths.append("description")
                made = connection.call(ApplicationServiceStub, "UpdateApplication", request)
                started.release()
            return int(made.revision)

    # Each change is refused unless the one before has been made, and made once.
    with services(any_site, "jobstore") as running, ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(work, f"app{number}") for number in range(8)]
        for _ in range(2):
            for _ in range(80):
                assert started.acquire(timeout=30)
            running.kill("jobstore")
            running.start("jobstore")
        assert [caller.result(timeout=60) for caller in callers] == [updates + 1] * 8
        assert len(dump_of_site(any_site)["application"]) == 8
