"""What an agent is told to start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from balsam.errors import ValidationError
from balsam.v1 import job_pb2, lease_pb2
from balsam_launcher.leased import LeasedJob
from balsam_launcher.mpi import Mpi, NoMpi
from balsam_launcher.placement import need_of
from balsam_launcher.prepare import Surroundings, make_start

MPI = Mpi("mpich", "/mpi/mpiexec", ("/usr/bin/env", "--default-signal=PIPE"))
ECHO = lease_pb2.Program(name="echo", executable="/bin/echo -n", python="/env/python")


def around(mpi: Mpi | NoMpi = MPI, mode: str = "auto") -> Surroundings:
    return Surroundings(Path("/site"), {"PATH": "/usr/bin", "HOME": "/home/ada"}, ["n1", "n2"], mode, mpi)


def leased(program: lease_pb2.Program | None = ECHO, mode: str = "auto", **fields: Any) -> LeasedJob:
    job = job_pb2.Job(job_id="j1", attempt=2, working_directory="/site/data/w/x_1", **fields)
    need = need_of(job.num_nodes, job.ranks_per_node, job.node_packing_count, mode)
    assert need is not None
    found = LeasedJob(5, lease_pb2.Lease(handle=1, token=1), job, program, "secret", need)
    found.nodes = tuple(range(need.nodes))
    return found


def test_a_serial_job_starts_without_mpi_and_without_a_shell() -> None:
    start = make_start(leased(name="x", args="a 'b c'"), around())
    assert start.argv == ["/bin/echo", "-n", "a", "b c"]
    assert (start.run_id, start.directory, start.output) == (5, "/site/data/w/x_1", "x.out")
    assert not start.ignore_sigpipe


def test_the_credential_travels_in_the_environment_and_nowhere_else() -> None:
    start = make_start(leased(args="a", ranks_per_node=2), around())
    assert start.variables["BALSAM_JOB_TOKEN"] == "secret"
    assert "secret" not in " ".join(start.argv)


def test_a_run_knows_its_nodes_its_launcher_and_its_attempt() -> None:
    variables = make_start(leased(args="a", num_nodes=2), around()).variables
    assert (variables["BALSAM_NODES"], variables["BALSAM_LAUNCHER_NODES"]) == ("n1,n2", "2")
    assert (variables["BALSAM_JOB_MODE"], variables["BALSAM_ATTEMPT"]) == ("auto", "2")


def test_an_mpi_job_starts_under_the_run_command() -> None:
    start = make_start(leased(args="a", ranks_per_node=2, mpi_flags="-l"), around())
    assert start.argv == [
        "/mpi/mpiexec", "-n", "2", "-l", "/usr/bin/env", "--default-signal=PIPE", "/bin/echo", "-n", "a",
    ]  # fmt: skip
    assert start.needs == "/bin/echo"
    assert start.ignore_sigpipe


def test_in_mpi_mode_a_serial_job_starts_under_the_run_command_too() -> None:
    start = make_start(leased(args="a", mode="mpi"), around(mode="mpi"))
    assert start.argv[:3] == ["/mpi/mpiexec", "-n", "1"]


def test_an_envscript_goes_around_the_ranks_own_command() -> None:
    program = lease_pb2.Program(name="e", executable="app", envscript="/env.sh")
    start = make_start(leased(program, ranks_per_node=2), around())
    assert start.argv[-3:-1] == ["bash", "-c"]
    assert start.argv[-1].endswith("exec app")
    assert start.needs == ""


def test_without_mpi_an_mpi_job_is_refused_with_the_reason_and_a_serial_one_runs() -> None:
    with pytest.raises(ValidationError, match="no mpiexec found"):
        make_start(leased(args="a", ranks_per_node=2), around(NoMpi("no mpiexec found")))
    assert make_start(leased(args="a"), around(NoMpi("none"))).argv


def test_a_job_without_a_command_is_refused() -> None:
    with pytest.raises(ValidationError, match="no command"):
        make_start(leased(None), around())
