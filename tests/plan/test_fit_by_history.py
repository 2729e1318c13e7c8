"""A launcher that goes by the history: it starts what has always ended in time, whatever its job says."""

from __future__ import annotations

from pathlib import Path

from tests.support.processes import launcher, services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, states, wait_for_states


def test_a_job_starts_whose_application_has_always_been_quick(tmp_path: Path) -> None:
    site = make_test_site(tmp_path, fit_by_history=0.9)
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
        launcher(site, "--time-limit-minutes=5")
        wait_for_states(site, {"careful": "JOB_FINISHED"})
        assert states(site)["new"] == "PREPROCESSED"
