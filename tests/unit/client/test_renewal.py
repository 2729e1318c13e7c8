"""How long a session is trusted, when the job store answers late or is not there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from balsam import stores
from balsam.errors import Unavailable
from balsam.renewal import Renewal, margin_of
from balsam.rpc import pack_error
from balsam.site import Site
from balsam.v1 import session_service_pb2, session_service_pb2_grpc
from tests.support.sites import wait_until

LEASE_SECONDS = 1.0
LATE_SECONDS = 0.1
"""So late is an answer: sooner than the deadline of a renewal, an eighth of the lease."""


def renewal(site: Site, sent: float, address: str = "") -> tuple[Renewal, threading.Event]:
    """The renewal of a session that was renewed last at that time, and what is set when it is trusted for longer."""
    longer = threading.Event()
    thread = Renewal(
        site, "a session", LEASE_SECONDS, sent, on_end=lambda: None, on_renewed=longer.set, address=address
    )
    return thread, longer


def test_a_session_that_is_trusted_is_trusted_for_longer_when_no_job_store_runs(site: Site) -> None:
    thread, longer = renewal(site, time.monotonic())
    until = thread.trusted_until
    thread.start()
    assert longer.wait(20)
    assert thread.trusted_until > until
    thread.stop()
    thread.join()


def test_a_session_that_is_not_trusted_any_more_is_not_trusted_again_when_no_job_store_runs(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "balsam.work")
    thread, longer = renewal(site, time.monotonic() - LEASE_SECONDS)
    until = thread.trusted_until
    thread.start()
    wait_until(lambda: len(caplog.records) >= 2, what="two renewals have failed")
    thread.stop()
    thread.join()
    assert not longer.is_set()
    assert thread.trusted_until == until


@pytest.fixture
def another(site: Site) -> Iterator[NotMine]:
    """A second job store of the fixture `site`, of which the first does not run."""
    site.make_run()
    (site.run / "jobstore-2.lock").touch()
    server = grpc.server(ThreadPoolExecutor(1))
    servicer = NotMine()
    session_service_pb2_grpc.add_SessionServiceServicer_to_server(servicer, server)
    server.add_insecure_port(site.address("jobstore-2"))
    server.start()
    yield servicer
    server.stop(None).wait()


class NotMine(session_service_pb2_grpc.SessionServiceServicer):
    """A job store that says that another one has the session, until it has taken that up."""

    has_it = False
    asked = 0

    def RenewSession(self, request: Any, context: Any) -> session_service_pb2.RenewSessionResponse:
        """Renews the session, if it has it."""
        self.asked += 1
        if not self.has_it:
            error = Unavailable("it is another's", reason=stores.OTHER_STORE, field="jobstore")
            context.set_trailing_metadata((("grpc-status-details-bin", pack_error(error)),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "it is another's")
        return session_service_pb2.RenewSessionResponse()


def test_a_job_store_that_is_away_proves_nothing_where_another_may_have_the_session(
    site: Site, another: NotMine
) -> None:
    thread, longer = renewal(site, time.monotonic())
    until = thread.trusted_until
    thread.start()
    wait_until(lambda: another.asked >= 2, what="two renewals have failed")
    assert not longer.is_set()
    assert thread.trusted_until == until
    another.has_it = True
    assert longer.wait(20)
    thread.stop()
    thread.join()
    assert thread.store == "jobstore-2"


class LateJobStore(session_service_pb2_grpc.SessionServiceServicer):
    """A job store whose answers take their time."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        """When, by the monotonic clock."""

    def RenewSession(self, request: Any, context: Any) -> session_service_pb2.RenewSessionResponse:
        """Renews whatever session, and says so late."""
        self.asked.append(time.monotonic())
        time.sleep(LATE_SECONDS)
        return session_service_pb2.RenewSessionResponse()


@pytest.fixture
def late_job_store(site: Site) -> Iterator[LateJobStore]:
    """The job store of the fixture `site`."""
    site.socket("jobstore").parent.mkdir(parents=True, exist_ok=True)
    server = grpc.server(ThreadPoolExecutor(1))
    servicer = LateJobStore()
    session_service_pb2_grpc.add_SessionServiceServicer_to_server(servicer, server)
    server.add_insecure_port(site.address("jobstore"))
    server.start()
    yield servicer
    server.stop(None).wait()


def test_trust_counts_from_the_sending_however_late_the_answer(site: Site, late_job_store: LateJobStore) -> None:
    thread, longer = renewal(site, time.monotonic())
    thread.start()
    assert longer.wait(20)
    thread.stop()
    thread.join()
    # The lease began when it was asked for, or later: it ends this long after that, or later.
    assert thread.trusted_until <= late_job_store.asked[-1] + LEASE_SECONDS - margin_of(LEASE_SECONDS)


def test_what_nobody_answers_at_its_own_address_is_asked_where_everything_is(
    site: Site, late_job_store: LateJobStore
) -> None:
    thread, longer = renewal(site, time.monotonic(), f"unix:{site.socket('nobody')}")
    until = thread.trusted_until
    thread.start()
    assert longer.wait(20)
    thread.stop()
    thread.join()
    assert late_job_store.asked
    assert thread.trusted_until > until


def test_trust_ends_before_the_lease_and_leaves_time_to_stop_runs(site: Site) -> None:
    sent = time.monotonic()
    thread, _ = renewal(site, sent)
    assert sent + LEASE_SECONDS / 2 < thread.trusted_until < sent + LEASE_SECONDS - 0.1
