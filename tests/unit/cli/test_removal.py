"""Working directories that may be removed, and those that may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from balsam_cli.removal import remove_directory


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A site's data directory with a working directory in it."""
    (tmp_path / "data" / "w" / "deep" / "job_1").mkdir(parents=True)
    (tmp_path / "data" / "w" / "deep" / "job_1" / "file").touch()
    return tmp_path / "data"


def test_empty_directories_of_the_workflow_go_too(data: Path) -> None:
    assert remove_directory(data / "w" / "deep" / "job_1", data)
    assert list(data.iterdir()) == []


def test_directories_with_other_jobs_stay(data: Path) -> None:
    (data / "w" / "job_2").mkdir()
    assert remove_directory(data / "w" / "deep" / "job_1", data)
    assert [path.name for path in (data / "w").iterdir()] == ["job_2"]


@pytest.mark.parametrize("path", ["", "..", "w/../..", "../elsewhere", "missing", "link"])
def test_what_is_not_below_the_data_directory_stays(data: Path, path: str) -> None:
    outside = data.parent / "elsewhere"
    outside.mkdir()
    (outside / "file").touch()
    (data / "link").symlink_to(outside)
    assert not remove_directory(data / path, data)
    assert (outside / "file").exists()
    assert (data / "w" / "deep" / "job_1" / "file").exists()


def test_a_site_may_be_reached_through_a_link(data: Path) -> None:
    link = data.parent / "way-in"
    link.symlink_to(data)
    assert remove_directory(data / "w" / "deep" / "job_1", link)
    assert list(data.iterdir()) == []
