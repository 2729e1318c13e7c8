"""The Python API against a real job store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import balsam
from balsam import client as clients
from balsam import completions
from balsam.client import Client
from balsam.site import Site
from tests.support.processes import services
from tests.support.sites import make_test_site


@pytest.fixture(scope="module")
def store_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose job store runs, for all tests of a file. No scheduler: jobs stay where they are put."""
    site = make_test_site(tmp_path_factory.mktemp("client"))
    with services(site, "jobstore"):
        yield site
        close_streams()


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[Site]:
    """A site whose job store a test starts, stops and kills."""
    yield make_test_site(tmp_path)
    close_streams()


def close_streams() -> None:
    """Ends the threads that listen for futures; tests count them."""
    for stream in completions._made.values():
        stream.close()
    completions._made.clear()


@pytest.fixture
def store(store_site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The site of the plain names, empty."""
    monkeypatch.setenv("BALSAM_DB_PATH", str(store_site.path))
    clients.reset()
    yield balsam.connect()
    balsam.BalsamJob.objects.all().delete()
    balsam.ApplicationDefinition.objects.all().delete()
    balsam.QueuedLaunch.objects.all().delete()
    clients.reset()


@pytest.fixture
def in_job(store: Client, monkeypatch: pytest.MonkeyPatch) -> balsam.BalsamJob:
    """The job that the test is inside of, as far as `dag` can tell, with the owner's credential."""
    job = balsam.BalsamJob(name="me", workflow="w", args="true", data={"x": {"y": 1}}, num_nodes=2)
    job.save()
    monkeypatch.setenv("BALSAM_JOB_ID", str(job.job_id))
    return job


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
