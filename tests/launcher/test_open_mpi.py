"""MPI jobs under Open MPI, which Debian's `openmpi-bin` brings beside the MPICH of this environment."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.site import Site
from balsam.states import State
from balsam_launcher.topology import cores_of_this_host
from tests.support.components import missing
from tests.support.processes import launcher
from tests.support.processes import services as run_services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site

CORES = len(cores_of_this_host())
# A line in one piece: those of other ranks come through the same pipe.
GPU_AND_CORES = (
    "import os; seen = os.environ.get('CUDA_VISIBLE_DEVICES'), sorted(os.sched_getaffinity(0)); "
    r"os.write(1, '{} {}\n'.format(*seen).encode())"
)


@pytest.fixture
def open_mpi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site whose MPI runs are started by Open MPI, with its services; mpi4py uses its library."""
    program = shutil.which("mpiexec.openmpi")
    if program is None:
        missing("Open MPI", "there is no mpiexec.openmpi; `make system` as root installs it")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    site = make_test_site(tmp_path, mpi_program=program)
    with run_services(site):
        yield site


@pytest.fixture
def jobs(open_mpi: Site) -> Iterator[Jobs]:
    jobs = Jobs(open_mpi)
    yield jobs
    jobs.close()


def output(jobs: Jobs, job_id: str) -> list[str]:
    job = jobs.get(job_id)
    lines = (Path(job.working_directory) / f"{job.name}.out").read_text().splitlines()
    assert job.state == State.JOB_FINISHED, lines
    return lines


def python(program: str) -> str:
    return shlex.join([sys.executable, "-c", program])


def test_ranks_speak_with_each_other(open_mpi: Site, jobs: Jobs) -> None:
    program = (
        "from mpi4py import MPI; world = MPI.COMM_WORLD\n"
        "total = world.allreduce(world.rank + 1)\n"
        "if world.rank == 0: print(MPI.Get_library_version().split(',')[0][:8], world.size, total)"
    )
    environ = {"MPI4PY_MPIABI": "openmpi", "MPI4PY_LIBMPI": "libmpi.so.40"}
    job_id = jobs.add("speak", args=python(program), ranks_per_node=2, environ_vars=environ)
    launcher(open_mpi)
    assert output(jobs, job_id) == ["Open MPI 2 3"]


@pytest.mark.skipif(CORES < 2, reason="this host has one core")
def test_ranks_have_cores_and_gpus_of_their_own(open_mpi: Site, jobs: Jobs) -> None:
    job_id = jobs.add("run", args=python(GPU_AND_CORES), ranks_per_node=2, cpu_affinity=2, gpus_per_rank=1)
    free = jobs.add("free", args=python(GPU_AND_CORES), ranks_per_node=2)
    launcher(open_mpi, "--gpus-per-node", "2")
    (first, its_cores), (second, other_cores) = sorted(line.split(" ", 1) for line in output(jobs, job_id))
    assert (first, second) == ("0", "1")
    assert set(json.loads(its_cores)).isdisjoint(json.loads(other_cores))
    assert [json.loads(line.split(" ", 1)[1]) for line in output(jobs, free)] == [sorted(os.sched_getaffinity(0))] * 2


def test_more_ranks_than_cores_are_for_the_user_to_decide(open_mpi: Site, jobs: Jobs) -> None:
    job_id = jobs.add("many", args="echo x", ranks_per_node=CORES + 3)
    launcher(open_mpi)
    assert output(jobs, job_id) == ["x"] * (CORES + 3)
