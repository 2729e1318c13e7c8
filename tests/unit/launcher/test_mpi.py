"""MPI run commands, kind by kind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from balsam.errors import ValidationError
from balsam_launcher.mpi import TEMPLATES, Mpi, MpiRun, NoMpi, aborting_python, find, identify

TWO_NODES = MpiRun(node_count=2, ranks_per_node=4, nodes=("n1", "n2"), variables=("A", "BALSAM_JOB_TOKEN"))
BOUND = MpiRun(node_count=1, ranks_per_node=2, threads_per_rank=3, depth=True)


def line(name: str, run: MpiRun) -> str:
    program = TEMPLATES[name].program
    return " ".join(Mpi(name, program).command(run, ["app", "x"]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mpich", "mpiexec -n 8 -ppn 4 -hosts n1,n2 app x"),
        (
            "openmpi",
            "mpiexec -n 8 --host n1:4,n2:4 --oversubscribe --map-by ppr:4:node --bind-to none"
            " -x A -x BALSAM_JOB_TOKEN app x",
        ),
        ("intelmpi", "mpiexec -n 8 -ppn 4 -hosts n1,n2 app x"),
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
            " --cpus-per-task 3 --cpu-bind=cores app x",
        ),
        ("aprun", "aprun -n 2 -N 2 -cc depth -d 3 -j 1 app x"),
        ("jsrun", "jsrun --nrs 2 --rs_per_host 2 --tasks_per_rs 1 --cpu_per_rs 3 --bind packed:3 app x"),
        ("pals", "mpiexec -n 2 --ppn 2 --depth 3 --cpu-bind depth app x"),
    ],
)
def test_bound_ranks_on_this_host(name: str, expected: str) -> None:
    assert line(name, BOUND) == expected


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


def test_an_unknown_setting_names_the_valid_ones() -> None:
    with pytest.raises(ValidationError, match=r"'mpirun2'.*auto, mpich, openmpi"):
        find("mpirun2", "")


def test_a_python_script_on_several_ranks_aborts_them_all_when_it_raises() -> None:
    script = ["/env/python", "sim.py", "3"]
    assert aborting_python(script, 2, lambda python: True) == ["/env/python", "-m", "mpi4py", "sim.py", "3"]
    assert aborting_python(script, 1, lambda python: True) == script
    assert aborting_python(script, 2, lambda python: False) == script
    assert aborting_python(["app", "--in", "x.py"], 2, lambda python: True) == ["app", "--in", "x.py"]
