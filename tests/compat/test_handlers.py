"""Handlers in every combination of a parent and two children, while launchers are stopped and started."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from balsam.job import BalsamJob
from balsam.rpc import Connection
from balsam.site import Site
from balsam.v1 import launcher_service_pb2
from balsam.v1.launcher_service_pb2_grpc import LauncherServiceStub
from tests.compat.conftest import LoginShell
from tests.support.databases import mostly_sqlite
from tests.support.processes import running_launcher
from tests.support.sites import wait_until

LONG = 120.0
"""How long to wait where hundreds of processes have to have their turn [s]; a tenth, on an idle machine."""


class EndlessRuns:
    """The runs that never end by themselves: the first ones of the jobs of kind `timeout`."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stopped: set[str] = set()

    def now(self) -> list[str]:
        """Ids of their jobs; without those that were stopped, and are perhaps not yet reported."""
        running = BalsamJob.objects.filter(data__kind="timeout", state="RUNNING")
        found = running.values_list("job_id", "working_directory")
        ids = [str(job_id) for job_id, directory in found if _is_endless(Path(directory))]
        return [job_id for job_id in ids if job_id not in self._stopped]

    def wait(self, count: int) -> None:
        """Waits until so many run."""
        wait_until(lambda: len(self.now()) >= count, LONG, f"{count} endless runs", site=self._site)

    def stop(self, launcher_pid: int, job_ids: list[str]) -> None:
        """Has a launcher stop some of its runs, as at its time limit."""
        connection = Connection(self._site, f"launcher-{launcher_pid}")
        for job_id in job_ids:
            connection.call(LauncherServiceStub, "StopRun", launcher_service_pb2.StopRunRequest(job_id=job_id))
        connection.close()
        self._stopped.update(job_ids)

    def stop_until_ended(self, process: subprocess.Popen[bytes]) -> None:
        """Has a launcher stop them as they come, until it ends."""

        def ended() -> bool:
            if job_ids := self.now():
                self.stop(process.pid, job_ids)
            return process.poll() is not None

        wait_until(ended, LONG, "the launcher has nothing left to do", site=self._site)


def _is_endless(directory: Path) -> bool:
    return (directory / "begun").exists() and not (directory / "handled").exists()


def check_history(job: BalsamJob) -> None:
    """A job of each kind has gone the way of its kind, once."""
    path = re.findall(r" (\w+)\]", job.state_history)
    runs, kind = path.count("RUNNING"), job.data["kind"]
    assert runs == job.attempt
    assert path.count("RUN_ERROR") == (kind == "error")
    assert path.count("RUN_TIMEOUT") >= (kind == "timeout")  # any may be interrupted
    assert path.count("RUN_DONE") == path.count("POSTPROCESSED") == (kind == "normal" or not job.data["accept"])
    assert path.count("RUN_TIMEOUT") + path.count("RUN_ERROR") + path.count("RUN_DONE") == runs
    assert job.data["handled"] <= path.count("RUN_TIMEOUT") + path.count("RUN_ERROR")  # each end once
    assert path.count("PREPROCESSED") == path.count("JOB_FINISHED") == 1


@mostly_sqlite
@pytest.mark.timeout(400)
def test_all_combinations_of_ends_are_handled_across_three_launchers(any_site: Site, shell: LoginShell) -> None:
    shell.python("handled.py")
    endless = EndlessRuns(any_site)
    with running_launcher(any_site) as process:
        endless.wait(9)  # the parents
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    with running_launcher(any_site) as process:
        endless.wait(1)  # children of parents that have timed out
        endless.stop(process.pid, endless.now()[:1])
        endless.wait(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    with running_launcher(any_site) as process:
        endless.stop_until_ended(process)
        assert process.returncode == 0

    jobs = {(job.workflow, job.name): job for job in BalsamJob.objects.all()}
    assert len(jobs) == 81
    assert {job.state for job in jobs.values()} == {"JOB_FINISHED"}
    assert len({job.working_directory for job in jobs.values()}) == 81
    for (workflow, name), job in jobs.items():
        above = [] if name == "parent" else [jobs[workflow, "parent"]]
        assert int(job.read_file_in_workdir(f"sum.{name}")) == sum(one.data["x"] for one in [job, *above])
        assert bool(job.data["handled"]) == (job.data["kind"] != "normal")
        check_history(job)
