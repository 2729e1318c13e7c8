"""MPI run commands, kind by kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from balsam.errors import ValidationError
from balsam_launcher.mpi import Mpi, NoMpi, aborting_python, find, identify
from balsam_launcher.run_commands import TEMPLATES, MpiRun, gpu_words, run_variables

TWO_NODES = MpiRun(node_count=2, ranks_per_node=4, nodes=("n1", "n2"), variables=("A", "BALSAM_JOB_TOKEN"))
BOUND = MpiRun(node_count=1, ranks_per_node=2, threads_per_rank=3, depth=True)


HIDES = "/usr/bin/env -u OMPI_MCA_orte_local_tmpdir_base "


def line(name: str, run: MpiRun) -> str:
    """The command line, without the words that hide a variable of Open MPI from its ranks."""
    program = TEMPLATES[name].program
    words = " ".join(Mpi(name, program).command(run, ["app", "x"]))
    assert (HIDES in words) == (name == "openmpi")
    return words.replace(HIDES, "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mpich", "mpiexec -n 8 -ppn 4 -hosts n1,n2 app x"),
        (
            "openmpi",
            "mpiexec -n 8 --host n1:4,n2:4 --oversubscribe --map-by ppr:4:node --bind-to none"
            " -x A -x BALSAM_JOB_TOKEN app x",
        ),
        ("intelmpi", "mpiexec -n 8 -ppn 4 -hosts n1,n2 -genv I_MPI_JOB_RESPECT_PROCESS_PLACEMENT 0 app x"),
        (
            "srun",
            "srun --overlap --kill-on-bad-exit=1 --nodes 2 --ntasks 8 --ntasks-per-node 4 --nodelist n1,n2"
            " --cpu-bind=none app x",
        ),
        ("aprun", "aprun -n 8 -N 4 -L n1,n2 -cc none -d 1 -j 1 app x"),
        ("jsrun", "jsrun --nrs 8 --rs_per_host 4 --tasks_per_rs 1 --cpu_per_rs 1 --bind none app x"),
        ("pals", "mpiexec -n 8 --ppn 4 --hosts n1,n2 --cpu-bind none app x"),
    ],
)
def test_two_nodes_of_four_ranks(name: str, expected: str) -> None:
    assert line(name, TWO_NODES) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mpich", "mpiexec -n 2 -bind-to core:3 app x"),
        ("openmpi", "mpiexec -n 2 --oversubscribe --map-by ppr:2:node:PE=3 --bind-to core app x"),
        ("intelmpi", "mpiexec -n 2 -genv I_MPI_PIN_DOMAIN 3:compact app x"),
        (
            "srun",
            "srun --overlap --kill-on-bad-exit=1 --nodes 1 --ntasks 2 --ntasks-per-node 2"
            " --cpus-per-task 3 --threads-per-core 1 --cpu-bind=cores app x",
        ),
        ("aprun", "aprun -n 2 -N 2 -cc depth -d 3 -j 1 app x"),
        ("jsrun", "jsrun --nrs 2 --rs_per_host 2 --tasks_per_rs 1 --cpu_per_rs 3 --bind packed:3 app x"),
        ("pals", "mpiexec -n 2 --ppn 2 --depth 3 --cpu-bind depth app x"),
    ],
)
def test_bound_ranks_on_this_host(name: str, expected: str) -> None:
    assert line(name, BOUND) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mpich", "-bind-to core:2"),
        ("openmpi", "--map-by ppr:2:node:PE=2 --bind-to core"),
        ("intelmpi", "-genv I_MPI_PIN_DOMAIN 4:compact"),
        ("srun", "--cpus-per-task 4 --threads-per-core 2 --cpu-bind=cores"),
        ("aprun", "-cc depth -d 4 -j 2"),
        ("jsrun", "--cpu_per_rs 2 --bind packed:2"),
        ("pals", "--depth 4 --cpu-bind depth"),
    ],
)
def test_two_threads_on_each_core_take_half_of_the_cores(name: str, expected: str) -> None:
    run = MpiRun(1, 2, threads_per_rank=4, threads_per_core=2, core_threads=2, depth=True)
    assert f" {expected} app x" in line(name, run)


def test_on_this_host_of_an_allocation_no_batch_system_is_asked_for_a_step() -> None:
    here = MpiRun(1, 2, nodes=("n1",), here=True)
    assert line("mpich", here) == "mpiexec -n 2 -launcher fork -ppn 2 -hosts n1 app x"
    assert line("intelmpi", here).startswith("mpiexec -n 2 -bootstrap fork -ppn 2 -hosts n1 ")
    assert "--host" not in line("openmpi", here)
    slurm = {"SLURM_JOB_ID": "1"}
    assert run_variables("openmpi", here, slurm)["PRTE_MCA_ras"] == "^slurm"
    assert run_variables("openmpi", TWO_NODES, slurm) == {"SLURM_OVERLAP": "1"}
    assert run_variables("srun", here, slurm) == run_variables("mpich", here, {}) == {}


def test_the_sites_options_come_before_the_jobs_flags() -> None:
    mpi = Mpi("srun", "srun", options=("--mpi=pmi2", "--exact"))
    assert mpi.command(MpiRun(1, 2, flags=("-v",)), ["app"])[-4:] == ["--mpi=pmi2", "--exact", "-v", "app"]


# GPUs


def test_jsrun_gives_resource_sets_their_gpus_by_itself() -> None:
    whole = MpiRun(2, 4, gpus=("0", "1", "2", "3"), gpus_per_rank=1, gpu_variables=("CUDA_VISIBLE_DEVICES",))
    assert line("jsrun", whole) == (
        "jsrun --nrs 8 --rs_per_host 4 --tasks_per_rs 1 --cpu_per_rs 1 --gpu_per_rs 1 --bind none app x"
    )
    shared = MpiRun(2, 4, gpus=("0", "1"), gpus_per_rank=0.5, gpu_variables=("CUDA_VISIBLE_DEVICES",))
    assert "--nrs 2 --rs_per_host 1 --tasks_per_rs 4 --cpu_per_rs 4 --gpu_per_rs 2" in line("jsrun", shared)
    assert "rank_gpus.sh" in line("jsrun", shared)


def gpus_of(rank: int, run: MpiRun, *command: str, name: str = "openmpi") -> subprocess.CompletedProcess[str]:
    """Starts one rank as the run command would, on its own."""
    words = gpu_words(TEMPLATES[name], run)
    environ = {"PATH": "/usr/bin:/bin", TEMPLATES[name].rank[0]: str(rank)}
    return subprocess.run([*words, *command], env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("ranks", "gpus", "gpus_per_rank", "expected"),
    [
        (4, 4, 1, ["a", "b", "c", "d"]),
        (2, 4, 2, ["a,b", "c,d"]),
        (4, 2, 0.5, ["a", "a", "b", "b"]),
        (3, 1, 0.3, ["a", "a", "a"]),
        (2, 4, 1.5, ["a,b", "c,d"]),
    ],
)
def test_each_rank_sees_its_own_gpus(ranks: int, gpus: int, gpus_per_rank: float, expected: list[str]) -> None:
    run = MpiRun(1, ranks, gpus=tuple("abcd"[:gpus]), gpus_per_rank=gpus_per_rank, gpu_variables=("A", "B"))
    seen = [gpus_of(rank, run, "printenv", "A", "B").stdout.split() for rank in range(ranks)]
    assert seen == [[one, one] for one in expected]


def test_where_only_the_rank_among_all_is_told_nodes_have_neighbours() -> None:
    run = MpiRun(3, 2, gpus=("a", "b"), gpus_per_rank=1, gpu_variables=("A",))
    assert [gpus_of(rank, run, "printenv", "A", name="aprun").stdout for rank in range(4)] == ["a\n", "b\n"] * 2


def test_words_of_a_rank_arrive_as_they_are_and_its_exit_code_too() -> None:
    run = MpiRun(1, 2, gpus=("a", "b"), gpus_per_rank=1, gpu_variables=("A",))
    odd = ["a b", "it's", "*", "$A", "", "\\", "x,y"]
    done = gpus_of(1, run, sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", *odd)
    assert (done.returncode, done.stdout.strip()) == (7, repr(odd))


def test_a_rank_that_is_told_nothing_of_itself_does_not_start() -> None:
    run = MpiRun(1, 2, gpus=("a", "b"), gpus_per_rank=1, gpu_variables=("A",))
    words = gpu_words(TEMPLATES["mpich"], run)
    done = subprocess.run([*words, "echo", "ran"], env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (126, "")
    assert "none of MPI_LOCALRANKID,PMI_RANK tells which rank this is" in done.stderr


# Which there is


def test_the_users_flags_come_last_before_the_command() -> None:
    run = MpiRun(node_count=1, ranks_per_node=2, flags=("-l", "-x"))
    assert line("mpich", run) == "mpiexec -n 2 -l -x app x"


def test_a_run_command_that_ignores_sigpipe_gives_the_ranks_its_default_back() -> None:
    mpi = Mpi("mpich", "mpiexec", ("env", "--default-signal=PIPE"))
    assert mpi.command(MpiRun(1, 2), ["app"]) == ["mpiexec", "-n", "2", "env", "--default-signal=PIPE", "app"]
    assert mpi.ignore_sigpipe
    assert not Mpi("openmpi", "mpiexec").ignore_sigpipe


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("HYDRA build details:\n    Version:    5.0.2\n", "mpich"),
        ("mpiexec (OpenRTE) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/\n", "openmpi"),
        ("mpirun (Open MPI) 5.0.11\n", "openmpi"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.10 Build 20230619\n", "intelmpi"),
        ("mpiexec: PALS version 1.3.2\n", "pals"),
        ("something else", None),
    ],
)
def test_run_commands_are_known_by_what_they_say_of_themselves(version: str, name: str | None) -> None:
    assert identify(version) == name


def program(directory: Path, name: str, output: str) -> None:
    file = directory / name
    file.write_text(f"#!/bin/sh\necho '{output}'\n")
    file.chmod(0o755)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for programs; the installation of this Python has none."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    return tmp_path


def test_the_run_command_of_this_installation_comes_first(alone: Path, tmp_path: Path) -> None:
    program(alone, "mpiexec", "HYDRA build details")
    other = tmp_path / "other"
    other.mkdir()
    program(other, "mpiexec", "mpirun (Open MPI) 5.0")
    found = find("auto", str(other))
    assert isinstance(found, Mpi)
    assert (found.name, found.program) == ("mpich", str(alone / "mpiexec"))


def test_where_there_is_no_mpiexec_a_batch_systems_command_is_taken(alone: Path) -> None:
    program(alone, "srun", "slurm 22.05")
    assert find("auto", "/nonexistent") == Mpi("srun", str(alone / "srun"))


def test_where_there_is_none_the_reason_says_what_to_do(alone: Path) -> None:
    found = find("auto", "/nonexistent")
    assert isinstance(found, NoMpi)
    assert "no mpiexec found" in found.reason
    assert "pip install" in found.reason


def test_an_unknown_mpiexec_asks_for_the_setting(alone: Path) -> None:
    program(alone, "mpiexec", "my own")
    found = find("auto", "/nonexistent")
    assert isinstance(found, NoMpi)
    assert "mpi_command" in found.reason


def test_the_setting_decides(alone: Path) -> None:
    program(alone, "mpiexec", "my own")
    assert find("openmpi", "/nonexistent") == Mpi("openmpi", str(alone / "mpiexec"))
    missing = find("aprun", "/nonexistent")
    assert isinstance(missing, NoMpi)
    assert "aprun" in missing.reason


def test_a_program_may_be_named_and_is_asked_of_what_kind_it_is(alone: Path) -> None:
    program(alone, "mpirun-5", "mpirun (Open MPI) 5.0")
    path = str(alone / "mpirun-5")
    assert find("auto", "/nonexistent", program=path, options="--mca a 'b c'") == Mpi(
        "openmpi", path, options=("--mca", "a", "b c")
    )
    assert find("aprun", "/nonexistent", program=path) == Mpi("aprun", path)
    program(alone, "srun", "slurm 22.05")
    assert find("auto", "/nonexistent", program="srun") == Mpi("srun", str(alone / "srun"))


def test_a_program_that_is_not_there_is_the_reason(alone: Path) -> None:
    found = find("auto", "/nonexistent", program="/opt/mpi/bin/mpiexec")
    assert found == NoMpi(
        "mpi_program = '/opt/mpi/bin/mpiexec': is no program on this host; correct it in settings.toml"
    )


def test_options_that_do_not_split_are_named(alone: Path) -> None:
    with pytest.raises(ValidationError, match=r"mpi_options: .*No closing quotation"):
        find("auto", "", options="'x")


def test_an_unknown_setting_names_the_valid_ones() -> None:
    with pytest.raises(ValidationError, match=r"'mpirun2'.*auto, mpich, openmpi"):
        find("mpirun2", "")


def test_a_python_script_on_several_ranks_aborts_them_all_when_it_raises() -> None:
    script = ["/env/python", "sim.py", "3"]
    assert aborting_python(script, 2, lambda python: True) == ["/env/python", "-m", "mpi4py", "sim.py", "3"]
    assert aborting_python(script, 1, lambda python: True) == script
    assert aborting_python(script, 2, lambda python: False) == script
    assert aborting_python(["app", "--in", "x.py"], 2, lambda python: True) == ["app", "--in", "x.py"]
