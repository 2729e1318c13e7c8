"""Sites for tests, what is in them, and waiting for something to become true there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from balsam.rpc import Connection
from balsam.settings import Settings
from balsam.site import Site, make_site
from balsam.states import State
from balsam.v1 import job_pb2, job_service_pb2
from balsam.v1.job_service_pb2_grpc import JobServiceStub
from tests.support.processes import Services, log_tails, services

T = TypeVar("T")


def make_test_site(directory: Path, database: str = "sqlite", **settings: Any) -> Site:
    """Makes a site in `directory`/site; `settings` are those of a site, and stopping is quick."""
    values: dict[str, Any] = {"kill_grace_seconds": 2.0, "stop_margin_seconds": 0.0} | settings
    return make_site(directory / "site", Settings(database=database, **values))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site over SQLite; its services do not run."""
    return make_test_site(tmp_path)


@pytest.fixture
def any_site(tmp_path: Path, any_database: str) -> Site:
    """A site, over SQLite and then over PostgreSQL; its services do not run."""
    return make_test_site(tmp_path, any_database)


@pytest.fixture(name="services")
def running_services(site: Site) -> Iterator[Services]:
    """The services of the fixture `site`, running."""
    with services(site) as running:
        yield running


def wait_until(condition: Callable[[], T], timeout: float = 30.0, what: str = "", *, site: Site | None = None) -> T:
    """Waits until `condition` gives something true, and gives that.

    Fails the test after `timeout` seconds, with `what` was waited for and, given the site, its jobs and logs.
    """
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() > deadline:
            story = f"\n{job_table(site)}\n{log_tails(site)}" if site else ""
            pytest.fail(f"not after {timeout:g} s: {what or condition}{story}")
        time.sleep(0.02)
    return result


def wait_for_states(site: Site, expected: dict[str, str], timeout: float = 30.0) -> None:
    """Waits until the jobs with these names are in these states."""

    def all_there() -> bool:
        return expected.items() <= states(site).items()

    wait_until(all_there, timeout, f"states {expected}", site=site)


def jobs(site: Site) -> list[job_pb2.Job]:
    """All jobs, in order of creation."""
    connection = Connection(site)
    found: list[job_pb2.Job] = []
    request = job_service_pb2.ListJobsRequest()
    while True:
        page = connection.call(JobServiceStub, "ListJobs", request)
        found += page.jobs
        if not page.next_page_token:
            connection.close()
            return found
        request.page_token = page.next_page_token


def states(site: Site) -> dict[str, str]:
    """Name -> state of all jobs."""
    return {job.name: State(job.state).name for job in jobs(site)}


def job_table(site: Site) -> str:
    """All jobs, one a line, for a failed test to print."""
    try:
        rows = [
            f"{job.job_id[:8]}  {job.name:20}  {State(job.state).name:16}  attempt {job.attempt}  {job.message[:200]}"
            for job in jobs(site)
        ]
    except Exception as error:  # the story of a failure must not fail
        return f"no job table: {error}"
    return "\n".join(rows) or "no jobs"
