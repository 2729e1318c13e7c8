"""Stage-in from a URL and stage-out to one: real files, and fsspec as a process. Over SSH: tests/scheduler."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from balsam_scheduler import carriers
from balsam_scheduler.limits import Limit, Stopped
from balsam_scheduler.staging import Tools, stage_in, stage_out

JOB_ID = "01234567-89ab-cdef-0123-456789abcdef"


def no_program(command: list[str], directory: Path, standard_input: str) -> None:
    pytest.fail(f"started {command}")


def real_program(command: list[str], directory: Path, standard_input: str) -> None:
    subprocess.run(command, cwd=directory, input=standard_input.encode(), check=True, timeout=30)


LOCAL = Tools(no_program, lambda: None)
REAL = Tools(real_program, lambda: None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return fill(tmp_path / "source", "a.dat", "b.dat", "sub/c.dat")


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    directory = tmp_path / "workdir"
    directory.mkdir()
    return directory


def fill(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    return directory


def files(directory: Path) -> dict[str, str]:
    """Path -> text of every file and link to one under a directory, hidden ones too."""
    return {str(p.relative_to(directory)): p.read_text() for p in sorted(directory.rglob("*")) if p.is_file()}


# Stage-in


@pytest.mark.parametrize("url", ["{}", "local:{}", "file://{}", "{}/"])
def test_what_is_in_a_directory_is_copied(source: Path, workdir: Path, url: str) -> None:
    (source / "a.dat").chmod(0o750)
    stage_in(url.format(source), workdir, JOB_ID, LOCAL)
    assert files(workdir) == {"a.dat": "a.dat", "b.dat": "b.dat", "sub/c.dat": "sub/c.dat"}
    assert stat.S_IMODE((workdir / "a.dat").stat().st_mode) == 0o750
    assert (workdir / "b.dat").stat().st_mtime_ns == (source / "b.dat").stat().st_mtime_ns


def test_one_file_is_copied(source: Path, workdir: Path) -> None:
    stage_in(f"local:{source}/a.dat", workdir, JOB_ID, LOCAL)
    assert files(workdir) == {"a.dat": "a.dat"}


def test_files_that_are_there_are_replaced_and_directories_joined(source: Path, workdir: Path) -> None:
    fill(workdir, "sub/mine.dat")
    (workdir / "a.dat").write_text("old")
    stage_in(str(source), workdir, JOB_ID, LOCAL)
    stage_in(str(source), workdir, JOB_ID, LOCAL)
    expected = {"a.dat": "a.dat", "b.dat": "b.dat", "sub/c.dat": "sub/c.dat", "sub/mine.dat": "sub/mine.dat"}
    assert files(workdir) == expected


def test_a_link_that_is_there_is_replaced_and_not_written_through(source: Path, workdir: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("precious")
    (workdir / "a.dat").symlink_to(other)
    stage_in(str(source), workdir, JOB_ID, LOCAL)
    assert other.read_text() == "precious"
    assert (workdir / "a.dat").read_text() == "a.dat"


def test_a_linked_directory_in_the_way_is_an_error(source: Path, workdir: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (workdir / "sub").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="in the way of a directory"):
        stage_in(str(source), workdir, JOB_ID, LOCAL)
    assert not list((tmp_path / "other").iterdir())


def test_links_stay_links_and_lead_to_the_same(source: Path, workdir: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.dat").write_text("outside")
    (source / "inner").symlink_to("sub/c.dat")
    (source / "outer").symlink_to("../outside.dat")
    (source / "loop").symlink_to(".")
    stage_in(str(source), workdir, JOB_ID, LOCAL)
    assert os.readlink(workdir / "inner") == "sub/c.dat"
    assert os.readlink(workdir / "outer") == str(tmp_path / "outside.dat")
    assert os.readlink(workdir / "loop") == "."


@pytest.mark.parametrize("what", ["nothing there", "a pipe"])
def test_what_is_no_file_is_an_error(workdir: Path, tmp_path: Path, what: str) -> None:
    if what == "a pipe":
        os.mkfifo(tmp_path / "x")
    with pytest.raises(OSError, match=r"No such file|not a plain file"):
        stage_in(f"local:{tmp_path}/x", workdir, JOB_ID, LOCAL)
    assert not list(workdir.iterdir())


def test_a_pipe_in_a_directory_is_an_error_and_leaves_nothing_behind(source: Path, workdir: Path) -> None:
    os.mkfifo(source / "pipe")
    with pytest.raises(OSError, match="not a plain file"):
        stage_in(str(source), workdir, JOB_ID, LOCAL)
    assert not list(workdir.iterdir())


def test_a_read_only_directory_does_not_stop_a_copy(source: Path, workdir: Path) -> None:
    def run(command: list[str], directory: Path, standard_input: str) -> None:
        shutil.copytree(source, directory / "in")
        for read_only in (directory / "in/sub", directory / "in"):
            read_only.chmod(0o555)

    stage_in("scp:host:/data/in", workdir, JOB_ID, Tools(run, lambda: None))
    assert files(workdir) == {"a.dat": "a.dat", "b.dat": "b.dat", "sub/c.dat": "sub/c.dat"}
    assert not list(workdir.glob(".balsam*"))


def test_a_stop_ends_a_copy_and_leaves_nothing_behind(source: Path, workdir: Path) -> None:
    limit = Limit()
    limit.stop()
    with pytest.raises(Stopped):
        stage_in(str(source), workdir, JOB_ID, Tools(no_program, limit.check))
    limit.close()
    assert not list(workdir.iterdir())


def test_what_a_killed_scheduler_left_is_removed(source: Path, workdir: Path) -> None:
    fill(workdir, f".balsam-{JOB_ID}/tree/half")
    stage_in(f"{source}/a.dat", workdir, JOB_ID, LOCAL)
    assert files(workdir) == {"a.dat": "a.dat"}


# Stage-out


def test_every_match_is_copied_under_its_path(workdir: Path, tmp_path: Path) -> None:
    fill(workdir, "a.dat", "b.txt", "sub/c.dat", "results/deep/d", "results/e")
    left_out = stage_out(f"local:{tmp_path}/new/out", workdir, ["*.dat", "*/c.dat", "results"], JOB_ID, LOCAL)
    assert left_out == []
    assert files(tmp_path / "new/out") == {
        "a.dat": "a.dat",
        "results/deep/d": "results/deep/d",
        "results/e": "results/e",
        "sub/c.dat": "sub/c.dat",
    }


def test_no_match_is_no_error(workdir: Path, tmp_path: Path) -> None:
    assert stage_out(f"{tmp_path}/out", workdir, ["*.none"], JOB_ID, LOCAL) == []


def test_links_that_lead_out_of_the_working_directory_are_left_out_and_named(workdir: Path, tmp_path: Path) -> None:
    fill(workdir, "a.dat")
    (workdir / "input.dat").symlink_to(fill(tmp_path / "parent", "input.dat") / "input.dat")
    (workdir / "same.dat").symlink_to("a.dat")
    (workdir / "broken.dat").symlink_to("nothing")
    os.mkfifo(workdir / "pipe.dat")
    left_out = stage_out(f"{tmp_path}/out", workdir, ["*.dat"], JOB_ID, LOCAL)
    assert left_out == ["broken.dat", "input.dat", "pipe.dat"]
    assert files(tmp_path / "out") == {"a.dat": "a.dat", "same.dat": "a.dat"}


def test_links_in_the_target_do_not_lead_copies_elsewhere(workdir: Path, tmp_path: Path) -> None:
    fill(workdir, "sub/a.dat")
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    (out / "sub").symlink_to(other)
    with pytest.raises(OSError, match="leads out of"):
        stage_out(str(out), workdir, ["*/*.dat"], JOB_ID, LOCAL)
    assert not list(other.iterdir())


def test_a_target_inside_the_working_directory(workdir: Path) -> None:
    fill(workdir, "a.dat", "out/b.dat")
    stage_out(f"{workdir}/out", workdir, ["*"], JOB_ID, LOCAL)
    assert files(workdir / "out") == {"a.dat": "a.dat", "b.dat": "out/b.dat", "out/b.dat": "out/b.dat"}


def test_the_working_directory_as_its_own_target_changes_nothing(workdir: Path) -> None:
    fill(workdir, "a.dat")
    stage_out(str(workdir), workdir, ["*"], JOB_ID, LOCAL)
    assert files(workdir) == {"a.dat": "a.dat"}


def test_an_error_of_writing_names_the_file_to_be(workdir: Path, tmp_path: Path) -> None:
    fill(workdir, "a.dat")
    fill(tmp_path, "out/a.dat/in-the-way")
    with pytest.raises(IsADirectoryError) as raised:
        stage_out(f"{tmp_path}/out", workdir, ["*"], JOB_ID, LOCAL)
    assert raised.value.filename2 == f"{tmp_path}/out/a.dat"
    assert files(tmp_path / "out") == {"a.dat/in-the-way": "out/a.dat/in-the-way"}


def test_a_target_that_is_a_file_is_an_error(workdir: Path, tmp_path: Path) -> None:
    fill(workdir, "a.dat")
    (tmp_path / "out").write_text("")
    with pytest.raises(FileExistsError):
        stage_out(f"{tmp_path}/out", workdir, ["*"], JOB_ID, LOCAL)


# fsspec


@pytest.fixture
def with_fsspec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a stand-in for the package where Python finds it."""

    def install(text: str) -> None:
        fill(tmp_path / "packages", "fsspec/core.py")
        (tmp_path / "packages/fsspec/__init__.py").write_text("")
        (tmp_path / "packages/fsspec/core.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))

    return install


def copy_by_fsspec(direction: str, url: str, directory: Path) -> None:
    real_program(carriers.fsspec(direction), directory, url)


@pytest.mark.parametrize("ending", ["", "/"])
def test_fsspec_copies_what_is_in_a_directory(source: Path, workdir: Path, ending: str) -> None:
    fill(source, "source/d.dat")  # of the same name as the directory
    copy_by_fsspec("get", f"file://{source}{ending}", workdir)
    assert files(workdir) == files(source)


def test_fsspec_copies_one_file(source: Path, workdir: Path) -> None:
    copy_by_fsspec("get", f"file://{source}/a.dat", workdir)
    assert files(workdir) == {"a.dat": "a.dat"}


def test_fsspec_copies_to_a_directory_there_or_not(source: Path, tmp_path: Path) -> None:
    for _ in range(2):
        copy_by_fsspec("put", f"file://{tmp_path}/new/out", source)
        assert files(tmp_path / "new/out") == files(source)


def fsspec_says(url: str) -> str:
    command = [sys.executable, "-P", "-m", "balsam_scheduler.fsspec_copy", "get"]
    done = subprocess.run(command, input=url, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == ""
    return done.stdout


def test_what_to_do_without_fsspec(with_fsspec: Callable[[str], None]) -> None:
    with_fsspec("import no_such_package")
    assert fsspec_says("s3://bucket/x") == (
        "s3: URLs need the Python package no_such_package: install it beside Balsam, with pip\n"
    )


def test_what_a_storage_library_says_comes_without_passwords(with_fsspec: Callable[[str], None]) -> None:
    with_fsspec("def url_to_fs(url): raise PermissionError('no entry to ' + url)")
    assert fsspec_says("sftp://me:secret@host/x") == "PermissionError: no entry to sftp://me:***@host/x\n"
