"""A launcher in an allocation of a real Slurm, with emulated nodes."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from balsam.site import Site
from balsam.states import State
from tests.support.mpi import use_open_mpi
from tests.support.processes import launcher_command
from tests.support.processes import services as run_services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site
from tests.support.slurm import Slurm

RANK = "import os; os.write(1, f\"rank: {os.environ['SLURMD_NODENAME']} {os.environ['BALSAM_NODES']}\\n\".encode())"
GPU = "import os; os.write(1, 'rank: {CUDA_VISIBLE_DEVICES}\\n'.format(**os.environ).encode())"
SPEAKING = """
from mpi4py import MPI
total = MPI.COMM_WORLD.allreduce(1)
if MPI.COMM_WORLD.rank == 0:
    print(total)
"""


def python(program: str) -> str:
    return shlex.join([sys.executable, "-c", program])


def in_allocation(slurm: Slurm, site: Site, nodes: int, *options: str) -> str:
    """Runs a launcher as a batch job of so many nodes, and waits for its end; gives its output."""
    script = shlex.join(["exec", *launcher_command(site, *options)])
    file = slurm.directory / "launcher.out"
    job = slurm.command(
        "sbatch", "--parsable", f"-N{nodes}", "--exclusive", "-t5", f"-o{file}", f"--wrap={script}"
    ).strip()
    assert slurm.wait_until_over(job, site, 60) == "COMPLETED", file.read_text() + slurm.story()
    return file.read_text()


def output(jobs: Jobs, job_id: str) -> list[str]:
    job = jobs.get(job_id)
    assert job.state == State.JOB_FINISHED, job
    return (Path(job.working_directory) / f"{job.name}.out").read_text().splitlines()


def ranks(lines: list[str]) -> list[list[str]]:
    """What the ranks have said; Slurm may say something too."""
    return [line.split()[1:] for line in lines if line.startswith("rank: ")]


@pytest.mark.mpi
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"mpi_command": "mpich"}, id="mpich"),
        pytest.param({"mpi_command": "srun", "mpi_options": "--mpi=pmi2"}, id="srun"),
        pytest.param({"mpi_program": "mpiexec.openmpi"}, id="openmpi", marks=pytest.mark.slow),
    ],
)
def test_ranks_of_an_mpi_job_are_on_the_nodes_that_it_was_given(
    slurm: Slurm, tmp_path: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "mpi_program" in settings:
        use_open_mpi(monkeypatch)
        monkeypatch.setenv("OMPI_MCA_btl", "tcp,self")  # emulated nodes have one memory, and it takes them for several
    site = make_test_site(tmp_path, **settings)
    with run_services(site):
        jobs = Jobs(site)
        pair = jobs.add("pair", args=python(RANK), num_nodes=2, ranks_per_node=2)
        one = jobs.add("one", args=python(RANK), ranks_per_node=3)
        speaking = jobs.add("speaking", args=python(SPEAKING), num_nodes=2, ranks_per_node=2)
        gpus = jobs.add("gpus", args=python(GPU), num_nodes=2, ranks_per_node=2, gpus_per_rank=1)
        in_allocation(slurm, site, 3, "--gpus-per-node", "2")
        seen = ranks(output(jobs, pair))
        names = seen[0][1].split(",")
        assert len(names) == 2
        assert sorted(node for node, _ in seen) == sorted(names * 2)
        seen = ranks(output(jobs, one))
        assert len(seen) == 3
        assert all(node == given for node, given in seen)
        assert "4" in output(jobs, speaking)
        assert sorted(ranks(output(jobs, gpus))) == [["0"], ["0"], ["1"], ["1"]]
        jobs.close()


def test_nodes_and_the_time_left_are_those_of_the_allocation(slurm: Slurm, site: Site) -> None:
    shown = in_allocation(slurm, site, 2, "--print-command")
    nodes, time, *_ = shown.splitlines()
    assert nodes.startswith("nodes:  ")
    assert set(re.findall(r"node\d", nodes)) == {"node1", "node2"}
    assert time.startswith(("time:   4.", "time:   5."))
    assert "squeue" in time or "SLURM_JOB_END_TIME" in time


def test_a_launcher_ends_before_its_allocation(slurm: Slurm, tmp_path: Path) -> None:
    site = make_test_site(tmp_path, stop_margin_seconds=299.0)
    with run_services(site):
        jobs = Jobs(site)
        job_id = jobs.add("run", args="sleep 300", wall_time_minutes=0)
        in_allocation(slurm, site, 1)
        assert "RUN_TIMEOUT" in jobs.history(job_id)
        jobs.close()
