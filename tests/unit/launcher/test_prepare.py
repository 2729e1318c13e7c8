"""What an agent is told to start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from balsam.errors import ValidationError
from balsam.v1 import job_pb2, lease_pb2
from balsam_launcher.leased import LeasedJob, need_of_job
from balsam_launcher.mpi import Mpi, NoMpi
from balsam_launcher.nodes import Node
from balsam_launcher.placement import Placement
from balsam_launcher.prepare import Surroundings, make_start

MPI = Mpi("mpich", "/mpi/mpiexec", ("/usr/bin/env", "--default-signal=PIPE"))
ECHO = lease_pb2.Program(name="echo", executable="/bin/echo -n", python="/env/python")


TWO = (Node("n1", 4, 1, ("0", "1"), local=True), Node("n2", 4, 1, ("0", "1")))


def around(mpi: Mpi | NoMpi = MPI, mode: str = "auto", nodes: tuple[Node, ...] = TWO, **variables: str) -> Surroundings:
    base = {"PATH": "/usr/bin", "HOME": "/home/ada", **variables}
    return Surroundings(Path("/site"), Path("/site/data"), base, nodes, mode, mpi, "/scratch")


def leased(
    program: lease_pb2.Program | None = ECHO, mode: str = "auto", nodes: tuple[Node, ...] = TWO, **fields: Any
) -> LeasedJob:
    job = job_pb2.Job(job_id="j1", attempt=2, working_directory="/site/data/w/x_1", **fields)
    need = need_of_job(job, mode)
    assert need is not None
    found = LeasedJob(5, lease_pb2.Lease(handle=1, token=1), job, program, "secret", need)
    found.seats = Placement(nodes).place(need)
    assert found.seats is not None
    found.nodes = found.seats.nodes
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
        *("/mpi/mpiexec", "-n", "2", "-launcher", "fork", "-ppn", "2", "-hosts", "n1", "-l"),
        *("/usr/bin/env", "--default-signal=PIPE", "/bin/echo", "-n", "a"),
    ]
    assert start.needs == "/bin/echo"
    assert start.ignore_sigpipe


def test_in_mpi_mode_a_serial_job_starts_under_the_run_command_too() -> None:
    start = make_start(leased(args="a", mode="mpi"), around(mode="mpi"))
    assert start.argv[:3] == ["/mpi/mpiexec", "-n", "1"]


def test_an_envscript_goes_around_the_ranks_own_command() -> None:
    program = lease_pb2.Program(name="e", executable="app", envscript="/env.sh")
    start = make_start(leased(program, ranks_per_node=2), around())
    assert start.argv[-3].endswith("/bash")
    assert start.argv[-2] == "-c"
    assert start.argv[-1].endswith("exec app")
    assert start.needs == ""


def test_without_mpi_an_mpi_job_is_refused_with_the_reason_and_a_serial_one_runs() -> None:
    with pytest.raises(ValidationError, match="no mpiexec found"):
        make_start(leased(args="a", ranks_per_node=2), around(NoMpi("no mpiexec found")))
    assert make_start(leased(args="a"), around(NoMpi("none"))).argv


def test_a_job_without_a_command_is_refused() -> None:
    with pytest.raises(ValidationError, match="no command"):
        make_start(leased(None), around())


# Nodes, cores and GPUs


def test_on_this_host_alone_the_run_command_is_told_no_names() -> None:
    alone = (Node("n1", 4, local=True),)
    start = make_start(leased(nodes=alone, args="a", ranks_per_node=2), around(nodes=alone))
    assert start.argv[:3] == ["/mpi/mpiexec", "-n", "2"]
    assert "-hosts" not in start.argv
    in_slurm = make_start(
        leased(nodes=alone, args="a", ranks_per_node=2),
        around(nodes=alone, SLURM_JOB_ID="1", SLURM_JOB_NODELIST="n1"),
    )
    assert "-hosts n1" in " ".join(in_slurm.argv)


def test_a_run_over_several_nodes_names_them_all() -> None:
    start = make_start(leased(args="a", num_nodes=2, ranks_per_node=2), around())
    assert "-n 4 -ppn 2 -hosts n1,n2" in " ".join(start.argv)


def test_inside_slurm_run_commands_do_not_wait_for_the_step_of_the_agents() -> None:
    job = leased(args="a", num_nodes=2)
    assert make_start(job, around(SLURM_JOB_ID="1")).variables["SLURM_OVERLAP"] == "1"
    assert "SLURM_OVERLAP" not in make_start(job, around()).variables
    assert "SLURM_OVERLAP" not in make_start(job, around(Mpi("srun", "/srun"), SLURM_JOB_ID="1")).variables


def test_a_serial_job_that_asks_for_depth_is_bound_to_cores_of_its_own() -> None:
    fields = {"cpu_affinity": job_pb2.Job.DEPTH, "threads_per_rank": 4, "threads_per_core": 2}
    start = make_start(leased(args="a", **fields), around())
    assert (start.cores, start.threads_per_core, start.variables["OMP_NUM_THREADS"]) == ((0, 1), 2, "4")
    assert make_start(leased(args="a", threads_per_rank=4), around()).cores == ()


def test_a_serial_job_is_told_of_its_gpus() -> None:
    start = make_start(leased(args="a", gpus_per_rank=2), around())
    assert start.variables["CUDA_VISIBLE_DEVICES"] == start.variables["ZE_AFFINITY_MASK"] == "0,1"
    uuids = (Node("n1", 4, 1, ("GPU-a", "GPU-b"), local=True),)
    start = make_start(leased(nodes=uuids, args="a", gpus_per_rank=0.5), around(nodes=uuids))
    assert start.variables["HIP_VISIBLE_DEVICES"] == "GPU-a"
    assert "CUDA_VISIBLE_DEVICES" not in make_start(leased(args="a"), around()).variables


def test_what_is_assigned_counts_before_what_the_job_says() -> None:
    job = leased(args="a", gpus_per_rank=1, environ_vars={"CUDA_VISIBLE_DEVICES": "7"})
    assert make_start(job, around()).variables["CUDA_VISIBLE_DEVICES"] == "0"


def test_each_rank_of_an_mpi_job_is_given_its_own_gpus() -> None:
    start = make_start(leased(args="a", num_nodes=2, ranks_per_node=2, gpus_per_rank=1), around())
    wrapper = start.argv.index("/bin/sh")
    assert start.argv[wrapper + 2 :] == [
        *("MPI_LOCALRANKID,PMI_RANK", "CUDA_VISIBLE_DEVICES,HIP_VISIBLE_DEVICES,ZE_AFFINITY_MASK", "0,1"),
        *("1", "1", "2", "/bin/echo", "-n", "a"),
    ]


def test_where_ids_differ_between_nodes_gpus_are_counted() -> None:
    mixed = (Node("n1", 4, 1, ("GPU-a",), local=True), Node("n2", 4, 1, ("0",)))
    start = make_start(leased(nodes=mixed, args="a", num_nodes=2, gpus_per_rank=1), around(nodes=mixed))
    assert start.argv[start.argv.index("/bin/sh") + 4] == "0"


def test_runs_of_open_mpi_share_no_session_directory() -> None:
    """Open MPI 4 removes it at the end of one run under the feet of the next."""
    name, other = "OMPI_MCA_orte_local_tmpdir_base", "OMPI_MCA_orte_tmpdir_base"
    open_mpi = Mpi("openmpi", "/mpi/mpiexec")
    assert make_start(leased(args="a", ranks_per_node=2), around(open_mpi)).variables[name] == "/scratch/5"
    assert name not in make_start(leased(args="a", ranks_per_node=2), around()).variables
    own = make_start(leased(args="a", ranks_per_node=2), around(open_mpi, **{other: "/local"}))
    assert name not in own.variables
