"""Scripts of a member's jobs: done beside their launcher, and gone with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from balsam.site import Site
from balsam.states import State
from tests.support import people
from tests.support.processes import services
from tests.support.rpc_client import Client
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, wait_until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site whose services run, and where leases are short."""
    site = make_test_site(tmp_path, lease_seconds=3.0, kill_grace_seconds=1.0)
    with services(site):
        yield site


@pytest.fixture
def ann(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """The jobs of the member ann, with whose token all calls of this test are made."""
    owner = Client(site)
    file = people.token_file(tmp_path, people.add_user(owner, "ann"))
    owner.close()
    monkeypatch.setenv("BALSAM_TOKEN_FILE", file)
    return Jobs(site)


@contextlib.contextmanager
def launcher(site: Site, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A launcher of whoever the environment says."""
    command = [sys.executable, "-m", "balsam_launcher", "--site", str(site.path), *options]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def step_worker(process: subprocess.Popen[bytes], site: Site, other_than: int = 0) -> psutil.Process:
    """What does scripts and staging beside a launcher."""

    def found() -> psutil.Process | None:
        for child in psutil.Process(process.pid).children():
            with contextlib.suppress(psutil.Error):
                if "balsam_scheduler" in child.cmdline() and child.pid != other_than:
                    return child
        return None

    child = wait_until(found, what="a step worker", site=site)
    assert child is not None
    return child


def wait_until_gone(pid: int, site: Site) -> None:
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", what="gone", site=site)


def add_with_script(jobs: Jobs, directory: Path) -> tuple[str, Path]:
    """A job whose script tells its pid in a file, and lasts until there is a file `gate`; and the first file."""
    told = directory / "told"
    script = f"echo $$ >> {told}; while [ ! -e {directory}/gate ]; do sleep 0.02; done"
    app = jobs.add_app("app", preprocess=f'sh -c "{script}"')
    return jobs.add("a", application=app), told


def pids(told: Path) -> list[int]:
    return [int(line) for line in told.read_text().split()] if told.exists() else []


def test_a_killed_launcher_takes_the_scripts_with_it_and_the_next_does_them(
    site: Site, ann: Jobs, tmp_path: Path
) -> None:
    job_id, told = add_with_script(ann, tmp_path)
    with launcher(site) as first:
        wait_until(lambda: pids(told), what="the script runs", site=site)
        worker = step_worker(first, site)
        os.kill(first.pid, signal.SIGKILL)
        wait_until_gone(pids(told)[0], site)
        wait_until_gone(worker.pid, site)
    (tmp_path / "gate").touch()
    with launcher(site) as second:
        ann.wait(job_id, State.JOB_FINISHED)
        assert second.wait(30) == 0
    assert len(pids(told)) == 2
    assert "scripts and staging" not in "".join(log.read_text() for log in site.log.glob("launcher-*.log"))


def test_a_step_worker_that_dies_is_followed_by_another(site: Site, ann: Jobs, tmp_path: Path) -> None:
    job_id, told = add_with_script(ann, tmp_path)
    with launcher(site, "--persistent") as process:
        wait_until(lambda: pids(told), what="the script runs", site=site)
        worker = step_worker(process, site)
        worker.kill()
        wait_until_gone(pids(told)[0], site)
        (tmp_path / "gate").touch()
        ann.wait(job_id, State.JOB_FINISHED)
        assert step_worker(process, site, other_than=worker.pid).is_running()


def test_launchers_of_the_owner_have_none(site: Site, tmp_path: Path) -> None:
    jobs = Jobs(site)
    job_id, _ = add_with_script(jobs, tmp_path)
    (tmp_path / "gate").touch()
    with launcher(site, "--persistent") as process:
        jobs.wait(job_id, State.JOB_FINISHED)
        children = [child.cmdline() for child in psutil.Process(process.pid).children(recursive=True)]
        assert not any("balsam_scheduler" in words for words in children)
    jobs.close()
