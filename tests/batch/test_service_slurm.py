"""`balsam service` and a real Slurm: a campaign from nothing to its end."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client import Client
from balsam.ids import new_id
from balsam.query import AllOf
from balsam.settings import Settings
from balsam.site import Site
from balsam.states import State
from balsam_scheduler.batch.submitting import LaunchRequest, submit
from tests.batch.service_process import allow, kill_what_is_left, launch_states, running, said
from tests.support.sites import make_test_site, wait_for_states, wait_until
from tests.support.slurm import Slurm

OPEN = ("PENDING_SUBMISSION", "QUEUED", "RUNNING", "UNKNOWN")
KINDS = (
    {"wall_time_minutes": 5, "node_packing_count": 4},
    {"wall_time_minutes": 1, "node_packing_count": 2},
    {"wall_time_minutes": 2},
    {"wall_time_minutes": 2, "num_nodes": 2},
    {"wall_time_minutes": 1, "num_nodes": 3, "ranks_per_node": 2},
)
SHARES = (130, 100, 50, 12, 8)
"""So many jobs of each kind."""


@pytest.fixture
def site(tmp_path: Path, slurm: Slurm, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site that submits to Slurm; its leases [s] are as the test says by `indirect`, else as usual."""
    lease_seconds = getattr(request, "param", Settings().lease_seconds)
    site = make_test_site(tmp_path, batch_system="slurm", lease_seconds=lease_seconds)
    yield site
    kill_what_is_left(site)


@pytest.mark.usefixtures("services")
def test_a_campaign_of_mixed_jobs_is_finished_with_the_launches_that_the_policy_allows(
    site: Site, slurm: Slurm
) -> None:
    allow(site, max_launches=2, max_nodes=4)
    client = Client(site)
    kinds = [kind for kind, share in zip(KINDS, SHARES, strict=True) for _ in range(share)]
    fields = [{"job_id": str(uuid.uuid4()), "name": f"j{n}", "args": "true", **kind} for n, kind in enumerate(kinds)]
    client.jobs.create(fields)
    most: int = 0

    def finished() -> bool:
        nonlocal most
        most = max(most, sum(state in OPEN for state in launch_states(client)))
        counts = dict(client.jobs.groups(AllOf(()), ["state"]))
        return counts == {(State.JOB_FINISHED.name,): 300}

    with running(site):
        wait_until(finished, 100, "300 jobs finish", site=site)
        wait_until(lambda: set(launch_states(client)) == {"ENDED"}, 60, "the launches end", site=site)
        assert most == 2
        submitted = said(site).count("is submitted: ")
        assert submitted == len(launch_states(client)) >= 2
        # Nothing more comes: what a next round would do is nothing, and the batch system has no job left.
        wait_until(lambda: not slurm.command("squeue", "-h").strip(), 30, "the queue is empty", site=site)
    client.close()


@pytest.mark.parametrize("site", [5.0], indirect=True)
@pytest.mark.usefixtures("services")
def test_a_launch_whose_launcher_died_with_its_node_is_cancelled_and_another_one_comes(
    site: Site, slurm: Slurm
) -> None:
    allow(site, max_launches=1, max_nodes=1, lost_minutes=0.05)
    client = Client(site)
    lost = submit(site, client, LaunchRequest(2, 10))
    client.jobs.create([{"job_id": str(uuid.uuid4()), "name": "long", "args": "sleep 5"}])
    wait_for_states(site, {"long": "RUNNING"}, timeout=60)
    (head,) = re.findall(r"BatchHost=(\S+)", slurm.command("scontrol", "show", "job", lost.scheduler_id))
    slurm.kill_node(head)
    slurm.set_down(head)
    assert slurm.state(lost.scheduler_id) == "RUNNING"
    with running(site):
        wait_until(lambda: launch_states(client)[0] == "CANCELLED", 60, "the launch is cancelled", site=site)
        assert "launch 1 is cancelled: its launcher is gone since " in said(site)
        wait_for_states(site, {"long": "JOB_FINISHED"}, timeout=90)
    wait_until(lambda: slurm.state(lost.scheduler_id) == "CANCELLED", site=site)
    message = client.QueuedLaunch.objects.get(pk=1).message
    assert message.startswith("cancelled by `balsam service`: its launcher is gone since ")
    client.close()


@pytest.mark.usefixtures("services")
def test_a_launch_that_exceeds_a_limit_of_slurm_is_told_and_is_not_submitted_again(site: Site, slurm: Slurm) -> None:
    """The policy allows what the partition does not: an hour at most."""
    allow(site, max_launches=3, max_nodes=1, max_minutes=120)
    client = Client(site)

    def add(name: str, minutes: int) -> None:
        client.jobs.create([{"job_id": new_id(), "name": name, "args": "true", "wall_time_minutes": minutes}])

    add("long", 90)
    with running(site):
        wait_until(lambda: "launch 1 waits in vain (PartitionTimeLimit: " in said(site), 60, "it is told", site=site)
        add("short", 1)
        wait_for_states(site, {"short": "JOB_FINISHED"}, timeout=60)
        wait_until(lambda: launch_states(client) == ["QUEUED", "ENDED"], 60, "the other launch ends", site=site)
        assert "1 job must wait: launch 1 waits in vain (PartitionTimeLimit: " in said(site)
    assert slurm.state(client.QueuedLaunch.objects.get(pk=1).scheduler_id) == "PENDING"
    client.close()
