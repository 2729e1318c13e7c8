"""Launchers that belong to a batch launch, as BALSAM_LAUNCH_ID says."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import pytest

from balsam.site import Site
from balsam.v1 import launch_pb2
from tests.support.processes import Services, launcher, launcher_command, log_tails, running_launcher
from tests.support.scheduling import Jobs
from tests.support.sites import states, wait_for_states

pytestmark = pytest.mark.usefixtures("services")

DONE, LEFT = "JOB_FINISHED", "PREPROCESSED"


def test_bound_jobs_run_under_their_launch_only(site: Site, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    launch, other = jobs.add_launch(), jobs.add_launch()
    jobs.add("free", args="true")
    bound = jobs.add("bound", args="true", queued_launch=launch)
    elsewhere = jobs.add("elsewhere", args="true", queued_launch=other)
    said = launcher(site).stderr
    wait_for_states(site, {"free": DONE})
    assert states(site) == {"free": DONE, "bound": LEFT, "elsewhere": LEFT}
    assert (
        said
        == f"balsam launcher: 2 jobs are left to other launchers: bound ({bound[:8]}) is bound to launch {launch}\n"
    )

    jobs.add("late", args="true")
    monkeypatch.setenv("BALSAM_LAUNCH_ID", str(launch))
    said = launcher(site).stderr
    wait_for_states(site, {"bound": DONE, "late": DONE})
    assert states(site)["elsewhere"] == LEFT
    assert said.endswith(f"1 job is left to other launchers: elsewhere ({elsewhere[:8]}) is bound to launch {other}\n")


def test_a_prescheduled_launch_runs_what_is_bound_to_it_and_says_what_it_leaves(
    site: Site, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = jobs.add_launch(prescheduled_only=True)
    free = jobs.add("free", args="true")
    jobs.add("bound", args="true", queued_launch=launch)
    monkeypatch.setenv("BALSAM_LAUNCH_ID", str(launch))
    said = launcher(site).stderr
    wait_for_states(site, {"bound": DONE})
    assert states(site)["free"] == LEFT
    assert said == (
        f"balsam launcher: 1 job is left to other launchers: free ({free[:8]}) is not bound to launch {launch}, "
        "which takes bound jobs only (prescheduled_only)\n"
    )


def test_a_launch_hears_of_its_launcher(
    site: Site, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = jobs.add_launch(batch_system="slurm", state=launch_pb2.Launch.QUEUED, message="Priority")
    jobs.add("long", args=f"sh -c 'while [ ! -e {tmp_path}/go ]; do sleep 0.02; done'")
    monkeypatch.setenv("BALSAM_LAUNCH_ID", str(launch))
    with running_launcher(site) as process:
        wait_for_states(site, {"long": "RUNNING"})
        found = jobs.get_launch(launch)
        assert found.state == launch_pb2.Launch.RUNNING
        assert found.message == f"its launcher is process {process.pid} of {socket.gethostname()}"
        (tmp_path / "go").touch()
        process.wait(30)
    found = jobs.get_launch(launch)
    assert (found.state, found.message) == (launch_pb2.Launch.ENDED, "")


@pytest.mark.parametrize(
    ("number", "state", "message"),
    [
        (signal.SIGTERM, launch_pb2.Launch.RUNNING, "its launcher is stopped by SIGTERM"),
        (signal.SIGUSR1, launch_pb2.Launch.ENDED, ""),
    ],
)
def test_one_that_the_batch_system_may_have_cancelled_does_not_say_how_it_ended(
    site: Site,
    jobs: Jobs,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    state: launch_pb2.Launch.State.ValueType,
    message: str,
) -> None:
    launch = jobs.add_launch(batch_system="slurm", state=launch_pb2.Launch.QUEUED)
    jobs.add("long", args="sleep 600")
    monkeypatch.setenv("BALSAM_LAUNCH_ID", str(launch))
    with running_launcher(site) as process:
        wait_for_states(site, {"long": "RUNNING"})
        process.send_signal(number)
        process.wait(30)
    found = jobs.get_launch(launch)
    assert (found.state, found.message) == (state, message)
    assert f"1 job is left since this launcher was stopped: {number.name}" in log_tails(site)


def test_of_two_launchers_the_last_one_ends_the_launch(
    site: Site, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = jobs.add_launch(batch_system="slurm", state=launch_pb2.Launch.QUEUED)
    jobs.add("long", args=f"sh -c 'while [ ! -e {tmp_path}/go ]; do sleep 0.02; done'")
    monkeypatch.setenv("BALSAM_LAUNCH_ID", str(launch))
    with running_launcher(site) as process:
        wait_for_states(site, {"long": "RUNNING"})
        launcher(site, "--wf-filter", "nothing")
        assert jobs.get_launch(launch).state == launch_pb2.Launch.RUNNING
        (tmp_path / "go").touch()
        process.wait(30)
    assert jobs.get_launch(launch).state == launch_pb2.Launch.ENDED


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (launch_pb2.Launch.CANCELLED, "it was cancelled"),
        (launch_pb2.Launch.ENDED, "it has ended, and the jobs bound to it are free"),
    ],
)
def test_a_launch_that_is_over_stays_so(
    site: Site, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, state: launch_pb2.Launch.State.ValueType, said: str
) -> None:
    launch = jobs.add_launch(batch_system="slurm", state=state)
    monkeypatch.setenv("BALSAM_LAUNCH_ID", str(launch))
    done = subprocess.run(launcher_command(site), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (1, f"balsam launcher: BALSAM_LAUNCH_ID = {launch}: {said}\n")
    assert jobs.get_launch(launch).state == state


def test_a_launch_that_was_taken_for_refused_runs_all_the_same(
    site: Site, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = jobs.add_launch(batch_system="slurm", state=launch_pb2.Launch.SUBMIT_FAILED)
    jobs.add("one", args="true")
    monkeypatch.setenv("BALSAM_LAUNCH_ID", str(launch))
    launcher(site)
    wait_for_states(site, {"one": DONE})
    assert jobs.get_launch(launch).state == launch_pb2.Launch.ENDED


def test_a_launch_of_no_batch_system_may_have_many_launchers(
    site: Site, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = jobs.add_launch()
    monkeypatch.setenv("BALSAM_LAUNCH_ID", str(launch))
    launcher(site)
    assert jobs.get_launch(launch).state == launch_pb2.Launch.PENDING_SUBMISSION


@pytest.mark.parametrize(
    ("launch", "said"),
    [
        ("99", "BALSAM_LAUNCH_ID = 99: launch 99 does not exist"),
        ("seven", "BALSAM_LAUNCH_ID = 'seven': must be the id of a launch"),
    ],
)
def test_a_launch_that_is_none_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch, launch: str, said: str) -> None:
    monkeypatch.setenv("BALSAM_LAUNCH_ID", launch)
    done = subprocess.run(launcher_command(site), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert said in done.stderr


def test_a_filter_that_leaves_jobs_of_others_is_kept_in_what_is_said(
    site: Site, services: Services, jobs: Jobs
) -> None:
    jobs.add("elsewhere", args="true", queued_launch=jobs.add_launch())
    assert launcher(site, "--wf-filter", "nothing").stderr == ""
