"""Launches through a real Slurm."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client import Client
from balsam.site import Site
from balsam_scheduler.batch.answers import InVain
from balsam_scheduler.batch.cancelling import cancel
from balsam_scheduler.batch.observing import observe
from balsam_scheduler.batch.policy import Policy
from balsam_scheduler.batch.records import LaunchRecord
from balsam_scheduler.batch.scene import Memory
from balsam_scheduler.batch.submitting import LaunchRequest, SubmitFailed, refresh, submit
from tests.support.processes import Services, services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, wait_for_states, wait_until
from tests.support.slurm import Slurm

SMALL = LaunchRequest(1, 5)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_test_site(tmp_path)


@pytest.fixture
def running(site: Site, slurm: Slurm) -> Iterator[Services]:
    """The job store, which needs no Slurm, and which tests without jobs need alone."""
    with services(site, "jobstore") as running:
        yield running


@pytest.fixture
def client(site: Site, running: Services) -> Iterator[Client]:
    client = Client(site)
    yield client
    client.close()


@pytest.fixture
def jobs(site: Site, running: Services) -> Iterator[Jobs]:
    """The jobs of the site, and the scheduler, which moves them."""
    running.start("scheduler")
    jobs = Jobs(site)
    yield jobs
    jobs.close()


def now(client: Client, launch: LaunchRecord) -> tuple[str, str]:
    found = client.QueuedLaunch.objects.get(pk=launch.launch_id)
    return found.state, found.message


def wrap(slurm: Slurm, site: Site, client: Client, script: str) -> LaunchRecord:
    """Submits a launch with a script of its own."""
    site.templates.mkdir(exist_ok=True)
    (site.templates / "slurm.sh").write_text(f"#!/bin/bash\n#SBATCH --no-requeue\n{script}\n")
    return submit(site, client, SMALL)


def test_the_fixture_is_a_cluster_of_four_nodes(slurm: Slurm) -> None:
    assert slurm.command("sinfo", "-h", "-o", "%D %t").split() == ["4", "idle"]
    words = ("srun", "-N", "3", "sh", "-c", "echo $SLURMD_NODENAME")
    assert sorted(slurm.command(*words).split()) == ["node1", "node2", "node3"]


def test_a_launch_runs_the_jobs_and_ends(slurm: Slurm, site: Site, client: Client, jobs: Jobs) -> None:
    for number in range(3):
        jobs.add(f"job-{number}", args="true")
    launch = submit(site, client, SMALL)
    assert (launch.batch_system, launch.message) == ("slurm", "")
    assert launch.scheduler_id.isdigit()
    wait_for_states(site, {f"job-{number}": "JOB_FINISHED" for number in range(3)}, timeout=60)
    wait_until(lambda: now(client, launch) == ("ENDED", ""), site=site)
    wait_until(lambda: slurm.state(launch.scheduler_id) == "COMPLETED")
    assert f"balsam-{launch.launch_id}-{launch.tag}.out" in {path.name for path in site.qsubmit.iterdir()}


def test_queued_running_and_cancelled_by_balsam(slurm: Slurm, site: Site, client: Client, jobs: Jobs) -> None:
    slurm.command("scontrol", "update", "partitionname=debug", "state=down")
    jobs.add("long", args="sleep 600")
    launch, other = submit(site, client, SMALL), submit(site, client, SMALL)
    assert {one.state for one in refresh(site, client)} == {"QUEUED"}
    assert cancel(site, client, other.launch_id).state == "CANCELLED"
    wait_until(lambda: slurm.state(other.scheduler_id) == "CANCELLED")
    slurm.command("scontrol", "update", "partitionname=debug", "state=up")
    wait_for_states(site, {"long": "RUNNING"}, timeout=60)
    assert now(client, launch)[0] == "RUNNING"
    assert cancel(site, client, launch.launch_id).state == "CANCELLED"
    wait_for_states(site, {"long": "RESTART_READY"})
    wait_until(lambda: slurm.state(launch.scheduler_id) in ("COMPLETED", "CANCELLED"))
    assert now(client, launch) == ("CANCELLED", "cancelled with `balsam cancel`")


def test_cancelled_by_somebody_else(slurm: Slurm, site: Site, client: Client) -> None:
    launch = wrap(slurm, site, client, "sleep 600")
    wait_until(lambda: slurm.state(launch.scheduler_id) == "RUNNING")
    slurm.command("scancel", launch.scheduler_id)
    wait_until(lambda: not refresh(site, client) or now(client, launch)[0] == "CANCELLED", site=site)
    assert now(client, launch)[0] == "CANCELLED"


def test_a_launcher_that_is_cancelled_in_the_batch_system_leaves_a_launch_that_says_so(
    slurm: Slurm, site: Site, client: Client, jobs: Jobs
) -> None:
    jobs.add("long", args="sleep 600")
    launch = submit(site, client, SMALL)
    wait_for_states(site, {"long": "RUNNING"}, timeout=60)
    slurm.command("scancel", launch.scheduler_id)
    wait_until(lambda: not refresh(site, client), 60, "the launch is over", site=site)
    state, message = now(client, launch)
    assert (state, message.partition(";")[0]) == ("CANCELLED", "CANCELLED")


def test_the_end_of_a_launch_whose_launcher_did_not_come_up_says_why(slurm: Slurm, site: Site, client: Client) -> None:
    launch = wrap(slurm, site, client, "echo no such module: mpich; exit 3")
    wait_until(lambda: not refresh(site, client) or now(client, launch)[0] == "ENDED", site=site)
    assert now(client, launch) == (
        "ENDED",
        "FAILED (NonZeroExitCode); its output ends with: no such module: mpich",
    )


def test_a_controller_that_is_away_has_ended_nothing(slurm: Slurm, site: Site, client: Client) -> None:
    launch = wrap(slurm, site, client, "sleep 600")
    wait_until(lambda: [one.state for one in refresh(site, client)] == ["RUNNING"])
    slurm.stop_controller()
    (away,) = refresh(site, client)
    assert (away.state, "controller" in away.message) == ("UNKNOWN", True)
    slurm.start_controller()
    wait_until(lambda: [one.state for one in refresh(site, client)] == ["RUNNING"])
    slurm.command("scancel", launch.scheduler_id)


def test_what_slurm_refuses_says_why(slurm: Slurm, site: Site, client: Client) -> None:
    with pytest.raises(SubmitFailed, match=r"launch 1 was not submitted: sbatch: .*[Ii]nvalid partition"):
        submit(site, client, LaunchRequest(1, 5, queue="nowhere"))
    assert slurm.command("squeue", "-h") == ""


def test_what_keeps_a_launch_in_the_queue_is_told(slurm: Slurm, site: Site, client: Client) -> None:
    launch = submit(site, client, LaunchRequest(5, 5))
    wait_until(lambda: refresh(site, client)[0].message.startswith("PartitionNodeLimit: it asks for more nodes"))
    assert now(client, launch)[0] == "QUEUED"
    # Nobody counts on it.
    (seen,) = observe(client, Policy(), Memory(), time.time()).launches
    assert (seen.open, seen.covers, seen.in_vain) == (True, False, InVain("nodes"))


def test_a_launch_that_asks_for_more_time_than_a_partition_has_waits_in_vain(
    slurm: Slurm, site: Site, client: Client
) -> None:
    submit(site, client, LaunchRequest(1, 100))
    wait_until(lambda: refresh(site, client)[0].message.startswith("PartitionTimeLimit: it asks for more minutes"))


def test_a_controller_that_is_too_slow_has_accepted_the_launch(slurm: Slurm, site: Site, client: Client) -> None:
    """sbatch and squeue give up; afterwards the controller works off what it was sent."""
    with slurm.controller_stopped():
        launch = submit(site, client, SMALL)
    assert (launch.state, launch.scheduler_id) == ("UNKNOWN", "")
    assert launch.message.startswith(
        "it may have been accepted: sbatch: error: Batch job submission failed: Socket timed"
    )
    wait_until(lambda: now(client, launch)[0] != "UNKNOWN" or refresh(site, client) is None, site=site)
    (job_id,) = slurm.command("squeue", "-h", "-t", "all", "-o", "%i").split()
    assert client.QueuedLaunch.objects.get().scheduler_id == job_id


def test_an_answer_that_was_lost(
    slurm: Slurm, site: Site, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sbatch tells of a time-out, and the job is in the queue: it is found, and not submitted once more."""
    real, script = slurm.command("sh", "-c", "command -v sbatch").strip(), tmp_path / "bin" / "sbatch"
    script.parent.mkdir()
    said = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    script.write_text(f'#!/bin/sh\n{real} "$@" > /dev/null; echo "{said}" >&2; exit 1\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    launch = submit(site, client, SMALL)
    assert launch.state in ("QUEUED", "RUNNING")
    assert slurm.command("squeue", "-h", "-t", "all", "-o", "%i").split() == [launch.scheduler_id]


def test_a_launch_that_was_accepted_twice_runs_once(slurm: Slurm, site: Site, client: Client) -> None:
    launch = wrap(slurm, site, client, "sleep 600")
    name = f"balsam-{launch.launch_id}-{launch.tag}"
    twin = slurm.command("sbatch", "--parsable", f"--job-name={name}", "--wrap", "sleep 600").strip()
    refresh(site, client)
    wait_until(lambda: slurm.state(twin) == "CANCELLED")
    assert slurm.state(launch.scheduler_id) in ("PENDING", "RUNNING")
    assert client.QueuedLaunch.objects.get().scheduler_id == launch.scheduler_id
    slurm.command("scancel", launch.scheduler_id)
