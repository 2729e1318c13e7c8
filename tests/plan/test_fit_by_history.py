"""Launchers that go by the history: what starts, what `balsam why` says of it, and which launches are submitted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from balsam.site import Site
from tests.batch.service_process import allow, dry_run
from tests.cli.conftest import Balsam
from tests.support.processes import launcher, running_launcher, services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, states, wait_for_states


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site where application `quick` has always been quick, and of two jobs that ask for ten hours one is of it."""
    site = make_test_site(tmp_path, fit_by_history=0.9, batch_system="local")
    with services(site):
        jobs = Jobs(site)
        jobs.add_app("quick", executable="true")
        jobs.add_app("unknown", executable="true")
        for number in range(5):
            jobs.add(f"before-{number}", application="quick", node_packing_count=5)
        launcher(site)
        wait_for_states(site, {f"before-{number}": "JOB_FINISHED" for number in range(5)})
        jobs.add("careful", application="quick", wall_time_minutes=600)
        jobs.add("new", application="unknown", wall_time_minutes=600)
        jobs.close()
        wait_for_states(site, {"careful": "PREPROCESSED", "new": "PREPROCESSED"})
        yield site


def why(balsam: Balsam, name: str) -> dict[str, Any]:
    """What `balsam why` says of the job of this name."""
    (job,) = balsam("ls", "jobs", "--name", name, "--json").json
    answer: dict[str, Any] = balsam("why", job["job_id"], "--json").json
    return answer


def test_a_job_starts_whose_application_has_always_been_quick(site: Site, balsam: Balsam) -> None:
    with running_launcher(site, "--time-limit-minutes=5", "--persistent"):
        wait_for_states(site, {"careful": "JOB_FINISHED"})
        assert states(site)["new"] == "PREPROCESSED"
        answer = why(balsam, "new")
    assert (answer["condition"], "of the 600 minutes" in answer["why"]) == ("time-left", True)


def test_launches_are_as_short_as_its_runs(site: Site, balsam: Balsam) -> None:
    allow(site, max_minutes=16)
    planned = dry_run(site)
    assert [(one["jobs"], one["wall_minutes"]) for one in planned["submit"]] == [(1, 5)]
    assert [(one["minutes"], one["never"]) for one in planned["waiting"]] == [(600, True)]
    conditions = {name: why(balsam, name)["condition"] for name in ("careful", "new")}
    assert conditions == {"careful": "no-launcher", "new": "policy"}
    said = {
        name: balsam("job", "--name", f"{name}-2", "--app", name, "--wall-minutes=600").err
        for name in ("quick", "unknown")
    }
    assert "never submits a launch" not in said["quick"]
    assert "never submits a launch for unknown-2" in said["unknown"]
