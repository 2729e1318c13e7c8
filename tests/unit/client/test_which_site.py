"""Which site the names belong to."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

import balsam
from balsam import client as clients
from balsam.errors import NotAllowed, SiteError
from balsam.launcher import dag
from balsam.site import Site, make_site


@pytest.fixture(autouse=True)
def _unknown() -> Iterator[None]:
    clients.reset()
    yield
    clients.reset()


@pytest.fixture
def sites(tmp_path: Path) -> list[Site]:
    """Two sites."""
    return [make_site(tmp_path / "one"), make_site(tmp_path / "two")]


def test_the_environment_names_the_site(sites: list[Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALSAM_DB_PATH", str(sites[1].path))
    assert dag.get_active_database() == str(sites[1].path)


def test_else_it_is_the_nearest(sites: list[Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sites[0].data)
    assert dag.get_active_database() == str(sites[0].path)


def test_else_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SiteError, match="no Balsam site"):
        balsam.BalsamJob.objects.count()
    with pytest.raises(SiteError, match="is not a Balsam site"):
        balsam.connect(tmp_path)


def test_the_first_connection_says_what_the_plain_names_mean(
    sites: list[Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALSAM_DB_PATH", str(sites[0].path))
    balsam.connect(sites[1].path)
    balsam.connect(sites[0].path)
    assert dag.get_active_database() == str(sites[1].path)


def test_but_not_after_they_were_used(sites: list[Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALSAM_DB_PATH", str(sites[0].path))
    assert dag.get_active_database() == str(sites[0].path)
    balsam.connect(sites[1].path)
    assert dag.get_active_database() == str(sites[0].path)


def test_and_not_inside_a_job(sites: list[Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALSAM_DB_PATH", str(sites[0].path))
    monkeypatch.setenv("BALSAM_JOB_ID", "1f4a09c2-0000-4000-8000-000000000001")
    balsam.connect(sites[1].path)
    assert dag.get_active_database() == str(sites[0].path)


def test_classes_belong_to_their_site(sites: list[Site]) -> None:
    one, two = (balsam.connect(site.path) for site in sites)
    assert one.BalsamJob is one.BalsamJob is not two.BalsamJob
    assert balsam.connect(sites[0].path) is one
    assert two.BalsamJob._client() is two
    job = two.BalsamJob(name="a")
    assert isinstance(job, balsam.BalsamJob)
    assert issubclass(two.BalsamJob.DoesNotExist, balsam.BalsamJob.DoesNotExist)
    assert pickle.loads(pickle.dumps(job))._client() is two
    assert job == balsam.BalsamJob(job_id=job.job_id)


def test_the_known_sites(sites: list[Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALSAM_DB_PATH", str(sites[0].path))
    assert dag.get_database_paths() == {"one": str(sites[0].path)}


def test_outside_of_a_job() -> None:
    assert dag.current_job is None
    assert dag.JOB_ID is None
    assert (dag.TIMEOUT, dag.ERROR, dag.LAUNCHER_NODES) == (False, False, 1)
    assert list(dag.parents) == list(dag.children) == []
    with pytest.raises(RuntimeError, match="there is no current job"):
        dag.spawn_child(name="a")


def test_what_the_environment_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALSAM_JOB_ID", "1F4A09C2-0000-4000-8000-000000000001")
    monkeypatch.setenv("BALSAM_JOB_ERROR", "TRUE")
    monkeypatch.setenv("BALSAM_LAUNCHER_NODES", "4")
    assert str(dag.JOB_ID) == "1f4a09c2-0000-4000-8000-000000000001"
    assert (dag.TIMEOUT, dag.ERROR, dag.LAUNCHER_NODES) == (False, True, 4)


def test_submission_says_that_it_does_not_exist_yet() -> None:
    with pytest.raises(NotAllowed, match="does not submit to batch systems"):
        dag.submit("project", "queue", 1, 10)
