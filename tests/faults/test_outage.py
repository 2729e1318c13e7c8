"""A job store that is away while many jobs run: all of them are recorded when it is back, and none is run again.

Sizes from the environment: BALSAM_OUTAGE_RUNS (runs at a time), BALSAM_OUTAGE_SECONDS (how long it is away),
BALSAM_OUTAGE_LONGEST (the longest run [s]).
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from balsam.site import Site
from balsam.states import State
from tests.support.processes import Services, running_launcher, services
from tests.support.scheduling import Jobs
from tests.support.sites import jobs as all_jobs
from tests.support.sites import make_test_site, wait_until


def size(name: str, default: float) -> float:
    """A size of these tests."""
    return float(os.environ.get(f"BALSAM_OUTAGE_{name}", default))


RUNS, SECONDS, LONGEST = int(size("RUNS", 40)), size("SECONDS", 3.0), size("LONGEST", 2.5)


def go_away(services: Services, how: str) -> None:
    if how == "killed":
        services.kill("jobstore")
    else:
        os.kill(services.pid("jobstore"), signal.SIGSTOP)


def come_back(services: Services, how: str) -> None:
    if how == "killed":
        services.start("jobstore")
    else:
        os.kill(services.pid("jobstore"), signal.SIGCONT)


@pytest.mark.timeout(120 + 2 * (SECONDS + LONGEST))
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_runs_that_end_while_the_job_store_is_away_are_recorded_once(
    tmp_path: Path, any_database: str, how: str
) -> None:
    site = make_test_site(tmp_path, any_database, lease_seconds=60.0)
    witness = tmp_path / "witness"
    jobs = Jobs(site)
    choose = random.Random(1)
    with services(site) as running:
        script = tmp_path / "run.sh"
        script.write_text(f'echo "$BALSAM_JOB_ID begin" >> {witness}; sleep $1; echo "$BALSAM_JOB_ID end" >> {witness}')
        for number in range(RUNS):
            length = choose.uniform(1.0, LONGEST)
            jobs.add(f"run{number}", args=f"sh {script} {length:.2f}", node_packing_count=1000)
        with running_launcher(site, "--persistent"):
            wait_until(lambda: _begun(witness) == RUNS, 120, "all run", site=site)
            go_away(running, how)
            gone = time.monotonic()
            wait_until(lambda: _lines(witness) == 2 * RUNS, LONGEST + 120, "all runs end")
            time.sleep(max(0.0, gone + SECONDS - time.monotonic()))
            come_back(running, how)
            wait_until(lambda: _finished(site) == RUNS, 60, "all are recorded", site=site)
    jobs.close()
    told = Counter(witness.read_text().split("\n")[:-1])
    assert set(told.values()) == {1}
    assert len(told) == 2 * RUNS


def _lines(witness: Path) -> int:
    return witness.read_text().count("\n") if witness.exists() else 0


def _begun(witness: Path) -> int:
    return witness.read_text().count("begin") if witness.exists() else 0


def _finished(site: Site) -> int:
    found = all_jobs(site)
    assert {job.attempt for job in found} == {1}
    return sum(job.state == State.JOB_FINISHED for job in found)
