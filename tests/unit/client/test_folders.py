"""Directories between a shared one and a job's own are shared, too."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from balsam import folders


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _usual_umask() -> None:
    os.umask(0o022)


def test_what_lies_between_is_the_group_s_and_the_last_its_maker_s(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    folders.make(str(tmp_path / "wf" / "sub" / "job"))
    assert [mode(tmp_path / name) for name in ("wf", "wf/sub", "wf/sub/job")] == [0o2775, 0o2775, 0o2755]


def test_elsewhere_the_umask_decides(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    folders.make(str(tmp_path / "wf" / "job"))
    assert [mode(tmp_path / name) for name in ("wf", "wf/job")] == [0o755, 0o755]


def test_one_that_is_there_is_as_good_and_a_file_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders.make(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folders.make("here")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        with pytest.raises(FileExistsError):
            folders.make(str(tmp_path / name))
    with pytest.raises(NotADirectoryError):
        folders.make(str(tmp_path / "file" / "below"))
