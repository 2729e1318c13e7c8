"""How long a session is trusted when there is no job store to ask."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from balsam.site import Site
from balsam.work import _Renewal
from tests.support.sites import wait_until

LEASE_SECONDS = 1.0


def renewal(site: Site, sent: float) -> tuple[_Renewal, threading.Event]:
    """The renewal of a session that was renewed last at that time, and what is set when it is trusted for longer."""
    longer = threading.Event()
    return _Renewal(site, "a session", LEASE_SECONDS, sent, on_end=lambda: None, on_renewed=longer.set), longer


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
