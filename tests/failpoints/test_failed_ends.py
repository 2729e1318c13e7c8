"""A worker that slept through its lease, where the job store could not write down the end of its session."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from balsam import failpoints
from balsam.failpoints import ENV_DIRECTORY, ENV_POINTS
from balsam.site import Site
from balsam.states import State
from tests.support.processes import running_launcher, services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, wait_until

POINT = "jobstore.in-session-end"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site with short leases, where the first end of a session finds no room on the disk."""
    (tmp_path / "hits").mkdir()
    monkeypatch.setattr(failpoints, "hit", failpoints.hit)  # the library arms this process too, for now
    monkeypatch.setenv(ENV_POINTS, f"{POINT}=enospc,once")
    monkeypatch.setenv(ENV_DIRECTORY, str(tmp_path / "hits"))
    return make_test_site(tmp_path, lease_seconds=2.0)


@pytest.mark.parametrize("who", ["scheduler", "launcher"])
def test_a_worker_whose_session_could_not_be_ended_gets_work_when_it_wakes(
    site: Site, tmp_path: Path, who: str
) -> None:
    with services(site) as running, running_launcher(site, "--persistent") as launcher:
        jobs = Jobs(site)
        jobs.wait(jobs.add("before", args="true"), State.JOB_FINISHED)
        pid = launcher.pid if who == "launcher" else running.pid(who)
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_until((tmp_path / "hits" / POINT).exists, what="the lease ends", site=site)
        finally:
            os.kill(pid, signal.SIGCONT)
        jobs.wait(jobs.add("after", args="true"), State.JOB_FINISHED)
        jobs.close()
