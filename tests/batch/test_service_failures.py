"""`balsam service` over commands that stand in for Slurm's, and do what that does on bad days."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client import Client
from balsam.ids import new_id
from balsam.site import Site
from balsam_scheduler.batch import calls, remembering, rounds
from balsam_scheduler.batch.scene import Memory
from tests.batch.service_process import allow, dry_run, launch_states, launches, running, said, service
from tests.support.processes import log_tails, services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, wait_until


class StandIn:
    """`sbatch`, `squeue` and the like on PATH. Jobs that were accepted are lines of a file, and stay queued."""

    def __init__(self, directory: Path) -> None:
        self.accepted_file = directory / "accepted"
        self.accepted_file.touch()
        self._first = directory / "first"
        self.directory = directory / "bin"
        self.directory.mkdir()
        self._write("squeue", f'cat "{self.accepted_file}"')
        self._write("scontrol", 'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1')
        self._write("scancel", "exit 0")
        self.accept()

    @property
    def accepted(self) -> int:
        """How many jobs it has accepted."""
        return len(self.accepted_file.read_text().splitlines())

    def accept(self) -> None:
        """`sbatch` accepts everything."""
        self._write("sbatch", self._accepting())

    def refuse(self) -> None:
        """`sbatch` accepts nothing."""
        self._write("sbatch", 'echo "sbatch: error: invalid partition specified: nowhere" >&2; exit 1')

    def refuse_queue(self, name: str) -> None:
        """`sbatch` accepts nothing for a partition."""
        script = "for script; do :; done"
        refusal = f'if grep -q "partition={name}$" "$script"; then echo "sbatch: error: no {name}" >&2; exit 1; fi'
        self._write("sbatch", f"{script}\n{refusal}\n{self._accepting()}")

    def time_out(self) -> None:
        """Neither `sbatch` nor `squeue` gets an answer."""
        for name in ("sbatch", "squeue"):
            self._write(name, 'echo "Socket timed out on send/recv operation" >&2; exit 1')

    def kill_the_caller(self, *, accepting: bool) -> None:
        """The first time `sbatch` kills who called it, with or without accepting the job; later it accepts."""
        first = f'if [ ! -e "{self._first}" ]; then touch "{self._first}"; kill -9 $PPID; exit 1; fi'
        self._write("sbatch", f"{self._accepting()}\n{first}" if accepting else f"{first}\n{self._accepting()}")

    def fall_silent(self) -> None:
        """`squeue` does not reach the controller."""
        self._write("squeue", 'echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1')

    def _accepting(self) -> str:
        return f"""
            for word; do case $word in --job-name=*) name=${{word#*=}};; esac; done
            id=$(($(wc -l < "{self.accepted_file}") + 1))
            echo "$id|PENDING|Resources|$name" >> "{self.accepted_file}"
            echo $id
        """

    def _write(self, name: str, text: str) -> None:
        program = self.directory / name
        draft = program.with_suffix(".new")
        draft.write_text(f"#!/bin/sh\n{text}\n")
        draft.chmod(0o755)
        draft.replace(program)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A Slurm that is none, for the test and what it starts."""
    stand_in = StandIn(tmp_path)
    monkeypatch.setenv("PATH", f"{stand_in.directory}:{os.environ['PATH']}")
    return stand_in


@pytest.fixture
def site(tmp_path: Path, stand_in: StandIn) -> Site:
    """A site that uses it: its services, too."""
    return make_test_site(tmp_path, batch_system="slurm")


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    """The site with its job store only: jobs stay as they are added, and nobody else looks after launches."""
    with services(site, "jobstore"):
        client = Client(site)
        yield client
        client.close()


@pytest.fixture
def jobs(site: Site, client: Client) -> Iterator[Jobs]:
    """The jobs of the site."""
    jobs = Jobs(site)
    yield jobs
    jobs.close()


@pytest.mark.parametrize("accepting", [True, False])
def test_killed_amid_a_submission_it_submits_once(
    site: Site, client: Client, jobs: Jobs, stand_in: StandIn, accepting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(site)
    jobs.add("a", args="true")
    stand_in.kill_the_caller(accepting=accepting)
    assert service(site, "--once").returncode == -signal.SIGKILL
    assert launch_states(client) == ["PENDING_SUBMISSION"]
    assert stand_in.accepted == int(accepting)
    again = service(site, "--once")
    assert again.returncode == 0, again.stderr
    now = "launch 1 (1), which was begun before, is QUEUED" if accepting else "is PENDING_SUBMISSION"
    assert now in again.stderr
    # What was not accepted may arrive as long as a command may take.
    monkeypatch.setattr(calls, "LIMIT_SECONDS", -1.0)
    rounds.do_round(client, time.time(), lambda text: None)
    assert service(site, "--once").returncode == 0
    assert (launch_states(client), stand_in.accepted) == (["QUEUED"], 1)


@pytest.mark.parametrize("accepting", [True, False])
def test_also_where_it_has_forgotten_what_it_had_begun(
    site: Site, client: Client, jobs: Jobs, stand_in: StandIn, accepting: bool
) -> None:
    allow(site)
    jobs.add("a", args="true")
    stand_in.kill_the_caller(accepting=accepting)
    assert service(site, "--once").returncode == -signal.SIGKILL
    (site.run / "service.json").unlink()
    assert service(site, "--once").returncode == 0
    assert len(launches(client)) == 1
    assert stand_in.accepted == int(accepting)


def test_what_was_begun_and_not_recorded_is_planned_anew(
    site: Site, client: Client, jobs: Jobs, stand_in: StandIn
) -> None:
    """The work may have gone, or the policy have changed, since."""
    allow(site)
    site.make_run()
    remembering.save(site, Memory(pending={"nodes": 9, "wall_minutes": 9, "request_id": new_id()}))
    assert service(site, "--once").returncode == 0
    assert (launch_states(client), stand_in.accepted) == (["CANCELLED"], 0)
    jobs.add("a", args="true")
    assert service(site, "--once").returncode == 0
    assert [(one["nodes"], one["state"]) for one in launches(client)] == [(9, "CANCELLED"), (1, "QUEUED")]


def test_failures_in_a_row_trip_the_breaker_and_it_says_so(
    site: Site, client: Client, jobs: Jobs, stand_in: StandIn
) -> None:
    allow(site)
    jobs.add("a", args="true")
    stand_in.refuse()
    with running(site):
        wait_until(lambda: "3 launches in a row failed" in said(site), site=site)
        assert "1 job must wait: the default queue: 3 launches in a row failed (" in said(site)
        assert "invalid partition specified: nowhere); the next is tried at " in said(site)
    assert launch_states(client) == ["SUBMIT_FAILED"] * 3
    refused = service(site, "--once")
    assert refused.returncode == 0
    assert len(launches(client)) == 3
    assert dry_run(site)["breakers"][0]["failures"] == 3


def test_a_breaker_lets_one_launch_through_and_closes_when_that_succeeds(
    site: Site, client: Client, jobs: Jobs, stand_in: StandIn
) -> None:
    allow(site, breaker_minutes=0)
    for number in range(30):
        jobs.add(f"j{number}", args="true")
    stand_in.refuse()
    for _ in range(3):
        failed = service(site, "--once")
        assert failed.returncode == 1
        assert "no launch of 1 node for 16 minutes in the default queue: launch " in failed.stderr
    stand_in.accept()
    assert service(site, "--once").returncode == 0
    assert service(site, "--once").returncode == 0
    assert launch_states(client) == ["SUBMIT_FAILED"] * 3 + ["QUEUED"]
    assert "one at a time until one succeeds" in log_tails(site)


def test_a_queue_that_refuses_a_launch_does_not_keep_others_from_theirs(
    site: Site, client: Client, jobs: Jobs, stand_in: StandIn
) -> None:
    queue = "[[queue]]\nname = '{}'\nmax_launches = 2\n[[queue.band]]\nmin_minutes = 5\nmax_minutes = 16\n"
    (site.path / "policy.toml").write_text(f"max_launches = 10\n{queue.format('broken')}{queue.format('good')}")
    for number in range(60):
        jobs.add(f"j{number}", args="true")
    stand_in.refuse_queue("broken")
    done = service(site, "--once")
    assert (done.returncode, done.stderr.count("no launch of 1 node for 16 minutes in queue broken: ")) == (1, 1)
    assert [(one["queue"], one["state"]) for one in launches(client)] == [
        ("broken", "SUBMIT_FAILED"),
        ("good", "QUEUED"),
        ("good", "QUEUED"),
    ]


def test_after_a_launch_in_doubt_nothing_more_is_submitted(
    site: Site, client: Client, jobs: Jobs, stand_in: StandIn
) -> None:
    allow(site)
    for number in range(30):
        jobs.add(f"j{number}", args="true")
    stand_in.time_out()
    done = service(site, "--once")
    assert (done.returncode, launch_states(client)) == (1, ["UNKNOWN"])
    assert "launch 1 of 1 node for 16 minutes in the default queue is UNKNOWN, and nothing more is" in done.stderr


def test_nothing_is_submitted_any_more_when_it_is_to_stop(
    site: Site, client: Client, jobs: Jobs, stand_in: StandIn
) -> None:
    allow(site)
    for number in range(30):
        jobs.add(f"j{number}", args="true")
    done = rounds.do_round(client, time.time(), lambda text: None, stopping=lambda: stand_in.accepted > 0)
    assert (len(done.plan.launches), stand_in.accepted, done.failure) == (2, 1, "")


def test_a_launch_of_which_the_batch_system_does_not_tell_still_counts(
    site: Site, client: Client, jobs: Jobs, stand_in: StandIn
) -> None:
    allow(site)
    jobs.add("a", args="true")
    assert service(site, "--once").returncode == 0
    stand_in.fall_silent()
    assert service(site, "--once").returncode == 0
    assert launch_states(client) == ["UNKNOWN"]
    assert dry_run(site)["submit"] == []
