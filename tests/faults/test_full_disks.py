"""No room under the database, the working directories or the logs: refused with the reason, and on when there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from balsam.errors import BalsamError, ResourceExhausted, Unavailable
from balsam.site import Site
from balsam.states import State
from tests.support.disks import small_disk
from tests.support.processes import launcher, running_launcher, services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, states, wait_until

BULK = "x" * 20_000


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_without_room_for_the_database_work_is_refused_and_goes_on_when_there_is(tmp_path: Path, database: str) -> None:
    site = make_test_site(tmp_path, database)
    with small_disk(site.database, 8 if database == "sqlite" else 160, files=10_000) as disk:
        jobs = Jobs(site)
        with services(site), running_launcher(site, "--persistent"):
            acknowledged = [jobs.add("before", args="true")]
            jobs.wait(acknowledged[0], State.JOB_FINISHED)
            disk.fill()
            refusals = []
            while len(refusals) < 3:
                try:
                    acknowledged.append(jobs.add(f"job{len(acknowledged)}", args="true", description=BULK))
                except BalsamError as error:
                    refusals.append(error)
            for error in refusals:
                assert isinstance(error, ResourceExhausted | Unavailable), error
            assert isinstance(refusals[0], ResourceExhausted), refusals[0]
            assert "no room on the disk of the database" in str(refusals[0])
            disk.free()
            wait_until(lambda: _works(jobs), 60, "jobs can be added again", site=site)
            for job_id in acknowledged:
                jobs.wait(job_id, State.JOB_FINISHED)
        jobs.close()


def _works(jobs: Jobs) -> bool:
    try:
        return bool(jobs.add("after", args="true"))
    except BalsamError:
        return False


def test_without_room_for_its_directory_a_job_fails_with_the_reason_and_others_run_later(
    site: Site, jobs: Jobs
) -> None:
    with small_disk(site.data, 1) as disk, services(site):
        first = jobs.add("first", args="true")
        launcher(site)
        disk.fill()
        cramped = jobs.add("cramped", args="true")
        launcher(site)
        disk.free()
        last = jobs.add("last", args="true")
        launcher(site)
        assert states(site) == {"first": "JOB_FINISHED", "cramped": "FAILED", "last": "JOB_FINISHED"}
        assert "No space left on device" in jobs.get(cramped).message
        assert jobs.get(first).exit_code == jobs.get(last).exit_code == 0


def test_without_room_for_its_output_a_job_fails_as_it_sees_fit_and_says_so(site: Site, jobs: Jobs) -> None:
    with small_disk(site.data, 1), services(site):
        job_id = jobs.add("writer", args="dd if=/dev/zero of=big bs=64k count=64")
        launcher(site)
        job = jobs.get(job_id)
        assert (State(job.state), job.exit_code) == (State.FAILED, 1)


def test_without_room_for_a_script_s_log_its_job_fails_with_the_reason(site: Site, jobs: Jobs) -> None:
    jobs_app = {"executable": "true", "preprocess": "true"}
    with small_disk(site.data, 1) as disk, services(site):
        jobs.add_app("app", **jobs_app)
        disk.fill()
        cramped = jobs.add("cramped", application="app")
        jobs.wait(cramped, State.FAILED)
        assert "No space left on device" in jobs.get(cramped).message
        disk.free()
        last = jobs.add("last", application="app")
        launcher(site)
        assert jobs.get(last).state == State.JOB_FINISHED


def test_without_room_for_logs_and_ledgers_work_goes_on(site: Site, jobs: Jobs) -> None:
    ledgers = site.path / "ledger"
    with small_disk(site.log, 1) as log, small_disk(ledgers, 1) as ledger, services(site):
        log.fill()
        ledger.fill()
        ids = [jobs.add(f"job{number}", args="true") for number in range(20)]
        launcher(site)
        assert {jobs.get(job_id).state for job_id in ids} == {State.JOB_FINISHED}
        log.free()
        ledger.free()
        jobs.add("last", args="true")
        launcher(site)
        assert set(states(site).values()) == {"JOB_FINISHED"}
