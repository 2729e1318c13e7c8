"""Three hosts with a real network between them, which breaks and comes back."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.site import Site
from balsam.states import State
from tests.support.namespaces import Hosts
from tests.support.processes import STOP_SECONDS, launcher_command, log_tails, services
from tests.support.scheduling import Jobs
from tests.support.sites import jobs as all_jobs
from tests.support.sites import make_test_site, states, wait_until

pytestmark = [pytest.mark.mpi, pytest.mark.timeout(180)]

LEASE_SECONDS = 6.0


@pytest.fixture
def site(tmp_path: Path, mpich: str, hosts: Hosts) -> Iterator[Site]:
    """A site whose launchers run on h1 and have h1, h2 and h3."""
    nodes = tmp_path / "nodes"
    nodes.write_text("h1\nh2\nh3\n")
    site = make_test_site(
        tmp_path,
        node_file=str(nodes),
        mpi_command="mpich",
        mpi_options=f"-launcher ssh -launcher-exec {hosts.agent_of_hydra(tmp_path)} -iface eth0",
        launcher_address=hosts.address("h1"),
        lease_seconds=LEASE_SECONDS,
    )
    with services(site):
        yield site


@contextlib.contextmanager
def launcher_on(host: str, hosts: Hosts, site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """A launcher there, ended afterwards."""
    with (site.log / "launcher.console").open("ab") as console:
        process = subprocess.Popen(
            [*hosts.words(host), *launcher_command(site)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
        )
    try:
        yield process
    except BaseException:
        print(log_tails(site))
        raise
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def waiting_jobs(jobs: Jobs, directory: Path, count: int) -> tuple[dict[str, str], Path]:
    """Jobs that wait until a file is there: id -> name of its host; all of them run."""
    gate = directory / "gate"
    script = directory / "wait.sh"
    script.write_text(f"echo $BALSAM_NODES; while [ ! -e {gate} ]; do sleep 0.05; done")
    ids = [jobs.add(f"job{number}", args=f"bash {script}") for number in range(count)]

    def where() -> dict[str, str] | None:
        found = {job_id: host_of(jobs, job_id) for job_id in ids}
        return found if all(found.values()) else None

    hosts = wait_until(where, what="all run", site=jobs.site)
    assert hosts is not None
    return hosts, gate


def host_of(jobs: Jobs, job_id: str) -> str:
    """Where a job last ran; empty: it has not."""
    job = jobs.get(job_id)
    output = Path(job.working_directory) / f"{job.name}.out"
    lines = output.read_text().split() if output.exists() else []
    return lines[-1] if lines else ""


def test_jobs_run_on_all_hosts(site: Site, hosts: Hosts, jobs: Jobs, tmp_path: Path) -> None:
    with launcher_on("h1", hosts, site) as process:
        where, gate = waiting_jobs(jobs, tmp_path, 3)
        assert set(where.values()) == {"h1", "h2", "h3"}
        gate.touch()
        process.wait(30)
    assert set(states(site).values()) == {"JOB_FINISHED"}


def test_a_host_that_is_cut_off_for_less_than_a_lease_loses_nothing(
    site: Site, hosts: Hosts, jobs: Jobs, tmp_path: Path
) -> None:
    with launcher_on("h1", hosts, site) as process:
        where, gate = waiting_jobs(jobs, tmp_path, 3)
        hosts.cut("h2")
        gate.touch()
        for job_id, host in where.items():
            if host != "h2":
                jobs.wait(job_id, State.JOB_FINISHED)
        hosts.mend("h2")
        process.wait(60)
    assert set(states(site).values()) == {"JOB_FINISHED"}
    assert all(job.attempt == 1 for job in all_jobs(site))


def test_a_host_that_stays_cut_off_ends_its_jobs_and_they_run_elsewhere(
    site: Site, hosts: Hosts, jobs: Jobs, tmp_path: Path
) -> None:
    with launcher_on("h1", hosts, site) as process:
        where, gate = waiting_jobs(jobs, tmp_path, 3)
        (lost,) = (job_id for job_id, host in where.items() if host == "h3")
        hosts.cut("h3")
        began = time.monotonic()
        jobs_elsewhere = [job_id for job_id in where if job_id != lost]
        wait_until(lambda: jobs.get(lost).restarts == 1, timeout=60, what="its job is given up", site=site)
        assert time.monotonic() - began < 3 * LEASE_SECONDS
        gate.touch()
        for job_id in [*jobs_elsewhere, lost]:
            jobs.wait(job_id, State.JOB_FINISHED, timeout=60)
        hosts.mend("h3")
        process.wait(60)
    assert host_of(jobs, lost) != "h3"
    assert [jobs.get(job_id).attempt for job_id in jobs_elsewhere] == [1, 1]
    assert jobs.get(lost).attempt == 2
