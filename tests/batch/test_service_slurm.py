"""`balsam service` and a real Slurm: a campaign from nothing to its end."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client import Client
from balsam.query import AllOf
from balsam.site import Site
from balsam.states import State
from tests.batch.service_process import allow, kill_what_is_left, launch_states, running, said
from tests.support.sites import make_test_site, wait_until
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
def site(tmp_path: Path, slurm: Slurm) -> Iterator[Site]:
    """A site that submits to Slurm."""
    site = make_test_site(tmp_path, batch_system="slurm")
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
