"""Checks of this host: MPI, batch system, limits of processes."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from balsam_cli.doctor.finding import Finding, note, ok, problem
from balsam_cli.doctor.patient import Patient
from balsam_cli.doctor.programs import ask

_TRIAL_SECONDS = 20.0
_BATCH_SECONDS = 8.0
_LEAST_FILES, _LEAST_PROCESSES = 1024, 1000
_MANY_FILES = 4096


@dataclass(frozen=True)
class BatchSystem:
    """A batch system: the command that submits, and a question that changes nothing.

    Attributes:
        unconfigured: what it says on a host where it is installed and belongs to no cluster; empty: not known.
    """

    name: str
    submit: str
    question: tuple[str, ...]
    unconfigured: str = ""


BATCH_SYSTEMS = (
    BatchSystem(
        "Slurm",
        "sbatch",
        ("squeue", "--noheader", "--format=%i", "--states=RUNNING"),
        unconfigured="Could not establish a configuration source",
    ),
    BatchSystem("Flux", "flux", ("flux", "jobs", "--no-header")),
    BatchSystem("LSF", "bsub", ("bqueues",)),
    BatchSystem("PBS", "qsub", ("qstat", "-Q")),
)


def check_mpi(patient: Patient) -> Iterator[Finding]:
    """Which MPI run command there is, and whether it runs two ranks."""
    from balsam_launcher import mpi
    from balsam_launcher.run_commands import MpiRun

    command = mpi.of_settings(patient.settings, os.environ)
    if isinstance(command, mpi.NoMpi):
        level = note if (patient.settings.mpi_command, patient.settings.mpi_program) == ("auto", "") else problem
        yield level("mpi", f"{command.reason}; serial jobs run without", "pip install mpi4py mpich")
        return
    text = f"{command.name}: {command.program}"
    run = MpiRun(node_count=1, ranks_per_node=2)
    words = command.command(run, [sys.executable, "-I", "-S", "-c", "print('rank')"])
    answer = ask(words, _TRIAL_SECONDS, keep_sigpipe=command.ignore_sigpipe)
    if answer.late:
        yield problem("mpi", f"{text}: two ranks on this host have not ended after {_TRIAL_SECONDS:g} s", _shown(words))
    elif answer.status != 0 or answer.out.split().count("rank") != 2:
        outside = command.name in ("srun", "aprun", "jsrun") and "SLURM_JOB_ID" not in os.environ
        level, where = (note, " (it may work in an allocation only)") if outside else (problem, "")
        yield level("mpi", f"{text}: two ranks fail with {answer.status}: {answer.last_line}{where}", _shown(words))
    else:
        yield ok("mpi", f"{text}, two ranks ran")


def _shown(words: list[str]) -> str:
    import shlex

    return shlex.join(words)


def check_batch(patient: Patient) -> Iterator[Finding]:
    """Which batch system there is, and whether it answers."""
    there = [system for system in BATCH_SYSTEMS if shutil.which(system.submit)]
    if not there:
        yield ok("batch system", "none on this host: launchers run here")
    for system in there:
        answer = ask(system.question, _BATCH_SECONDS)
        question = " ".join(system.question)
        if answer.late:
            yield problem("batch system", f"{system.name}: no answer within {_BATCH_SECONDS:g} s", question)
        elif system.unconfigured and system.unconfigured in answer.err:
            yield ok("batch system", f"{system.name} is installed and configured for no cluster: launchers run here")
        elif answer.status != 0:
            yield problem("batch system", f"{system.name}: {answer.last_line}", question)
        else:
            yield ok("batch system", f"{system.name} ({shutil.which(system.submit)}) answers")


def check_limits(patient: Patient) -> Iterator[Finding]:
    """Processes can be started, and enough of them, with enough open files."""
    shell_files, files = resource.getrlimit(resource.RLIMIT_NOFILE)  # services raise the first to the second
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    text = (
        f"{_limit(shell_files)} open files (services: up to {_limit(files)}), {_limit(processes)} processes, {_cores()}"
    )
    if (trial := ask(["true"], 10.0)).status != 0:
        yield problem(
            "limits", f"no process can be started: {trial.last_line}; {text}", "ulimit -u unlimited; ps -u $USER"
        )
    elif 0 <= files < _LEAST_FILES:
        yield problem("limits", f"{text}: services need {_LEAST_FILES} files", f"ulimit -n {_LEAST_FILES * 4}")
    elif 0 <= files < _MANY_FILES:
        yield note("limits", f"{text}: at the job store each client takes one; {_MANY_FILES:,} are enough for a team")
    elif 0 <= processes < _LEAST_PROCESSES:
        yield problem(
            "limits", f"{text}: launchers need {_LEAST_PROCESSES} processes", f"ulimit -u {_LEAST_PROCESSES * 4}"
        )
    else:
        yield ok("limits", text)


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else f"{value:,}"


def _cores() -> str:
    usable, all_of_them = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    return f"{usable} cores" if usable == all_of_them else f"{usable} of {all_of_them} cores"
