"""A launcher in an allocation of a real Slurm of four nodes, which is cancelled, and which loses a node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.site import Site
from balsam.states import State
from tests.support.mpi import use_open_mpi
from tests.support.processes import log_tails, services
from tests.support.scheduling import Jobs
from tests.support.sites import jobs as all_jobs
from tests.support.sites import make_test_site, states, wait_until
from tests.support.slurm import Slurm

pytestmark = [pytest.mark.mpi, pytest.mark.timeout(240)]

RANKS = """
import os
from mpi4py import MPI
world, there, given = MPI.COMM_WORLD, os.environ["SLURMD_NODENAME"], os.environ["BALSAM_NODES"]
os.write(1, f"rank {world.rank} of {world.size} on {there} given {given}\\n".encode())  # in one piece
"""


@pytest.fixture
def site(tmp_path: Path, slurm: Slurm, mpich: str) -> Iterator[Site]:
    """A site with services; its launchers are started by `submit`."""
    site = make_test_site(tmp_path, lease_seconds=6.0, launcher_address="127.0.0.1")
    with services(site):
        yield site


def submit(slurm: Slurm, site: Site, nodes: int) -> str:
    """Submits a launch as a user does; gives the id of its batch job."""
    words = [sys.executable, "-P", "-m", "balsam_cli", "submit-launch", "-n", f"{nodes}", "-t", "10", "--json"]
    environ = slurm.environ | {"BALSAM_DB_PATH": str(site.path)}
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["scheduler_id"])


def start_agents_after(monkeypatch: pytest.MonkeyPatch, directory: Path, lines: str) -> None:
    """Has srun run these lines of shell on each node before the node agent."""
    srun = directory / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(
        f"""#!/bin/bash
        words=()
        for word; do
            [ "$word" = "{sys.executable}" ] && words+=(sh -c '{lines}; exec "$@"' sh)
            words+=("$word")
        done
        exec {shutil.which("srun")} "${{words[@]}}"
        """
    )
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{srun.parent}:{os.environ['PATH']}")


def test_serial_and_mpi_jobs_in_one_allocation_of_four_nodes(
    slurm: Slurm, site: Site, jobs: Jobs, tmp_path: Path
) -> None:
    serial, ranks = tmp_path / "serial.sh", tmp_path / "ranks.py"
    serial.write_text("sleep 0.1; echo $SLURMD_NODENAME $BALSAM_NODES")
    ranks.write_text(RANKS)
    for number in range(200):
        jobs.add(f"serial{number}", args=f"bash {serial}", node_packing_count=4)
    for number in range(20):
        jobs.add(f"mpi{number}", args=f"{sys.executable} {ranks}", num_nodes=2, ranks_per_node=2)
    batch_job = submit(slurm, site, 4)
    assert slurm.wait_until_over(batch_job, site) == "COMPLETED", log_tails(site)
    assert Counter(states(site).values()) == {"JOB_FINISHED": 220}
    used: Counter[str] = Counter()
    for job in all_jobs(site):
        lines = (Path(job.working_directory) / f"{job.name}.out").read_text().splitlines()
        if job.name.startswith("serial"):
            ((there, given),) = [line.split() for line in lines]
            assert there == given
            used[there] += 1
        else:
            assert len(lines) == 4
            given = lines[0].rpartition(" ")[2]
            places = Counter(line.split()[5] for line in lines)
            assert places == dict.fromkeys(given.split(","), 2)
            used.update(places)
    assert set(used) == set(slurm.nodes)


def test_what_is_cancelled_goes_on_in_the_next_allocation(slurm: Slurm, site: Site, jobs: Jobs, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = tmp_path / "wait.sh"
    script.write_text(f"while [ ! -e {gate} ]; do sleep 0.05; done")
    ids = [jobs.add(f"job{number}", args=f"bash {script}") for number in range(4)]
    first = submit(slurm, site, 4)
    for job_id in ids:
        jobs.wait(job_id, State.RUNNING, timeout=60)
    slurm.command("scancel", first)
    assert slurm.wait_until_over(first, site) == "CANCELLED"
    for job_id in ids:
        wait_until(lambda one=job_id: "RUN_TIMEOUT" in jobs.history(one), what="it is cut off", site=site)  # type: ignore[misc]
        assert "RUN_ERROR" not in jobs.history(job_id)
    gate.touch()
    assert slurm.wait_until_over(submit(slurm, site, 4), site) == "COMPLETED", log_tails(site)
    assert set(states(site).values()) == {"JOB_FINISHED"}


def test_the_jobs_of_a_lost_node_run_elsewhere_and_the_others_go_on(
    slurm: Slurm, site: Site, jobs: Jobs, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    script = tmp_path / "wait.sh"
    script.write_text(f"echo $SLURMD_NODENAME; while [ ! -e {gate} ]; do sleep 0.05; done")
    ids = [jobs.add(f"job{number}", args=f"bash {script}") for number in range(3)]
    batch_job = submit(slurm, site, 3)

    def where(job_id: str) -> str:
        job = jobs.get(job_id)
        output = Path(job.working_directory) / f"{job.name}.out"
        return output.read_text().split()[-1] if output.exists() and output.read_text() else ""

    wait_until(lambda: all(where(job_id) for job_id in ids), timeout=60, what="all run", site=site)
    # The first node has the launcher.
    lost = next(job_id for job_id in ids if where(job_id) == "node2")
    others = [job_id for job_id in ids if job_id != lost]
    slurm.kill_node("node2")
    wait_until(lambda: jobs.get(lost).restarts == 1, timeout=90, what="its job is given up", site=site)
    gate.touch()
    assert slurm.wait_until_over(batch_job, site, timeout=120) in ("COMPLETED", "NODE_FAIL"), log_tails(site)
    assert set(states(site).values()) == {"JOB_FINISHED"}
    assert where(lost) != "node2"
    assert [jobs.get(job_id).attempt for job_id in others] == [1, 1]


class Pair:
    """An MPI run on two nodes, of which one is lost, and the other ends well as soon as `let_end` is called."""

    def __init__(self, slurm: Slurm, site: Site, directory: Path) -> None:
        self.site = site
        self.jobs = Jobs(site)
        self._slurm = slurm
        self._begun, self._gate, script = directory / "begun", directory / "gate", directory / "rank.sh"
        script.write_text(
            f"echo $BALSAM_ATTEMPT $SLURMD_NODENAME >> {self._begun}; while [ ! -e {self._gate} ]; do sleep 0.05; done"
        )
        self.job_id = self.jobs.add("pair", args=f"bash {script}", num_nodes=2, ranks_per_node=1, max_restarts=0)
        self._batch_job = submit(slurm, site, 3)

    def where(self, attempt: int) -> set[str]:
        """The nodes on which an attempt has begun."""
        lines = [line.split() for line in self._begun.read_text().splitlines()] if self._begun.exists() else []
        return {node for number, node in lines if number == str(attempt)}

    def lose_a_node(self) -> str:
        """Kills the node that has not the launcher, once both ranks run; gives its name."""
        wait_until(lambda: len(self.where(1)) == 2, timeout=60, what="both ranks run", site=self.site)
        (lost,) = self.where(1) - {"node1"}
        self._slurm.kill_node(lost)
        return lost

    def let_end(self) -> None:
        """Ranks end from now on."""
        self._gate.touch()

    def check_that_it_ran_elsewhere(self, lost: str) -> None:
        """Waits for its end."""
        self.jobs.wait(self.job_id, State.JOB_FINISHED, timeout=120)
        job = self.jobs.get(self.job_id)
        assert (job.attempt, job.restarts) == (2, 0)
        assert not {"RUN_ERROR", "FAILED"} & set(self.jobs.history(self.job_id))
        assert len(self.where(2)) == 2
        assert lost not in self.where(2)
        self.jobs.close()
        self._slurm.command("scancel", self._batch_job)


SRUN = {"mpi_command": "srun", "mpi_options": "--mpi=pmi2"}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"mpi_command": "mpich"}, id="mpich"),
        pytest.param(SRUN, id="srun", marks=pytest.mark.slow),
        pytest.param({"mpi_program": "mpiexec.openmpi"}, id="openmpi", marks=pytest.mark.slow),
    ],
)
def test_an_mpi_run_that_loses_a_node_runs_again_elsewhere_however_its_run_command_ends(
    slurm: Slurm, mpich: str, tmp_path: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "mpi_program" in settings:
        use_open_mpi(monkeypatch)
        monkeypatch.setenv("OMPI_MCA_btl", "tcp,self")
    site = make_test_site(tmp_path, lease_seconds=6.0, launcher_address="127.0.0.1", **settings)
    with services(site):
        pair = Pair(slurm, site, tmp_path)
        lost = pair.lose_a_node()
        pair.let_end()
        if settings is SRUN:
            slurm.set_down(lost)  # now srun ends, with 0 or 137
        pair.check_that_it_ran_elsewhere(lost)


def test_so_does_one_that_loses_a_node_before_the_agent_of_that_has_come(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents = tmp_path / "agents"
    start_agents_after(monkeypatch, tmp_path, f"while [ ! -e {agents} ]; do sleep 0.05; done")
    site = make_test_site(tmp_path, lease_seconds=6.0, launcher_address="127.0.0.1", **SRUN)
    with services(site):
        pair = Pair(slurm, site, tmp_path)
        lost = pair.lose_a_node()
        slurm.set_down(lost)
        pair.let_end()
        agents.touch()
        pair.check_that_it_ran_elsewhere(lost)


def test_a_node_on_which_no_agent_starts_gets_no_mpi_jobs_either(
    slurm: Slurm, site: Site, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_agents_after(monkeypatch, tmp_path, 'if [ "$SLURMD_NODENAME" = node3 ]; then exit 2; fi')
    gate, script = tmp_path / "gate", tmp_path / "wait.sh"
    script.write_text(f"while [ ! -e {gate} ]; do sleep 0.05; done")
    jobs.add("wait", args=f"bash {script}")
    batch_job = submit(slurm, site, 3)

    def logged() -> bool:
        said = "node3 gets nothing for now: no node agent can be started there: "
        return any(said in log.read_text() for log in site.log.glob("launcher-*.log"))

    def output(job_id: str) -> str:
        job = jobs.get(job_id)
        return (Path(job.working_directory) / f"{job.name}.out").read_text()

    wait_until(logged, timeout=60, what="the node is closed", site=site)
    ids = [jobs.add(f"mpi{number}", args="printenv BALSAM_NODES", ranks_per_node=2) for number in range(3)]
    for job_id in ids:
        jobs.wait(job_id, State.JOB_FINISHED, timeout=60)
    assert "node3" not in "".join(output(job_id) for job_id in ids)
    gate.touch()
    assert slurm.wait_until_over(batch_job, site) == "COMPLETED", log_tails(site)
