"""Launches of several users: the batch system hears of each from its own user's processes only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client import Client
from balsam.errors import NotAllowed
from balsam.site import Site
from balsam_scheduler.batch import records
from balsam_scheduler.batch.cancelling import cancel
from balsam_scheduler.batch.ownership import user_of
from balsam_scheduler.batch.submitting import LaunchRequest, refresh, submit
from tests.support import people, rpc_client
from tests.support.processes import services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, wait_for_states, wait_until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = make_test_site(tmp_path, batch_system="local", lease_seconds=3.0, kill_grace_seconds=1.0)
    with services(site):
        yield site


@pytest.fixture
def owner(site: Site) -> Iterator[Client]:
    client = Client(site)
    user_of(client)  # the line is open, whatever token there is later
    yield client
    client.close()


@pytest.fixture
def ann(site: Site, owner: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The member ann, with whose token everything is done that this test starts from then on."""
    caller = rpc_client.Client(site)
    monkeypatch.setenv("BALSAM_TOKEN_FILE", people.token_file(tmp_path, people.add_user(caller, "ann")))
    caller.close()
    client = Client(site)
    yield client
    client.close()


def test_the_owner_s_processes_leave_a_member_s_launch_to_her_and_her_launcher_ends_when_it_is_cancelled(
    site: Site, owner: Client, ann: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    jobs = Jobs(site)
    jobs.add("waits", args=f"bash -c 'while [ ! -e {gate} ]; do sleep 0.05; done'")
    launch = submit(site, ann, LaunchRequest(1, 5))
    wait_for_states(site, {"waits": "RUNNING"})
    assert refresh(site, owner) == []
    assert [one.launch_id for one in refresh(site, ann)] == [launch.launch_id]

    cancelled = cancel(site, owner, launch.launch_id)
    assert cancelled.state == records.CANCELLED
    assert cancelled.message.startswith("cancelled by ")
    assert "ann, whose it is, may end its local job" in cancelled.message
    wait_for_states(site, {"waits": "RESTART_READY"})
    pid = int(cancelled.scheduler_id.partition("@")[0])
    wait_until(lambda: not Path(f"/proc/{pid}/exe").exists(), what="her launcher has ended", site=site)
    jobs.close()


def test_a_member_cancels_no_launch_of_the_owner(site: Site, owner: Client, ann: Client) -> None:
    launch = records.create(owner, {"nodes": 1, "batch_system": "local"})
    with pytest.raises(NotAllowed, match="belongs to"):
        cancel(site, ann, launch.launch_id)
    assert records.get(owner, launch.launch_id).state == records.PENDING
