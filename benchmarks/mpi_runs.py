"""W11: MPI runs of two ranks, one after another, over the time of the bare calls of `mpiexec` in the same round.

Two kinds: ranks that are no MPI program, where all that is seen is what the runs cost; and ranks that begin and end MPI
in Python, which tell their number in their output.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from balsam_launcher import mpi
from balsam_launcher.run_commands import MpiRun
from benchmarks import checks
from benchmarks.campaigns import NOOP, run_until_seen
from benchmarks.figures import Figure, Skipped, Workload, WrongResult
from benchmarks.harness import Bench, RunningSite

_LIMIT = "bare mpiexec"
PROGRAM = Figure("w11.program", "MPI run, two ranks of true", "ms each", limit=_LIMIT)
PYTHON = Figure("w11.python", "MPI run, two ranks of mpi4py", "ms each", limit=_LIMIT)
_RANKS = 2
_RANK = """
import os
from mpi4py import MPI
# In one piece: ranks write at the same time.
os.write(1, f"rank {MPI.COMM_WORLD.rank} of {MPI.COMM_WORLD.size}\\n".encode())
"""


def measure(bench: Bench) -> None:
    """Bare calls before and after the runs of each round.

    Raises:
        Skipped: there is no MPI here.
    """
    command = mpi.find("auto", os.environ.get("PATH", os.defpath))
    if isinstance(command, mpi.NoMpi):
        raise Skipped(command.reason)
    script = bench.fresh("rank.py")
    script.write_text(_RANK)
    kinds = [(PROGRAM, [NOOP], bench.size(100, 1))]
    if importlib.util.find_spec("mpi4py"):
        kinds.append((PYTHON, [sys.executable, str(script)], bench.size(100, 1)))
    with bench.site(launcher=True) as running:
        for number in bench.rounds():
            for figure, words, count in kinds:
                workflow = f"{figure.key}-{number}"
                before = _bare(bench.fresh("bare"), command, words, count)
                with bench.profiled(running, figure.key):
                    seconds = _runs(running, words, workflow, count)
                after = _bare(bench.fresh("bare"), command, words, count)
                checks.ran(running.client, workflow, {checks.FREE: count})
                if figure is PYTHON:
                    _check_ranks(running.site.data / workflow)
                bench.record(figure, seconds / count * 1000, (before + after) / 2 / count * 1000)


def _runs(running: RunningSite, words: Sequence[str], workflow: str, count: int) -> float:
    """From before the first job is made until all are seen finished; an MPI run has the node for itself [s]."""
    began = time.perf_counter()
    make, args = running.client.BalsamJob, " ".join(words)
    run_until_seen(
        running.client,
        [make(name=f"n{i}", workflow=workflow, args=args, ranks_per_node=_RANKS) for i in range(count)],
    )
    return time.perf_counter() - began


def _bare(directory: Path, command: mpi.Mpi, words: Sequence[str], count: int) -> float:
    """As many calls, each with a directory, an output file and a session of its own [s]."""
    line = command.command(MpiRun(node_count=1, ranks_per_node=_RANKS), words)
    directory.mkdir()
    began = time.perf_counter()
    for number in range(count):
        place = directory / f"n{number}"
        place.mkdir()
        with (place / "out").open("ab") as output:
            subprocess.run(
                line,
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=True,
                start_new_session=True,
                # Python ignores SIGPIPE, and so must some of these programs; see `Template.ignore_sigpipe`.
                restore_signals=not command.ignore_sigpipe,
            )
    return time.perf_counter() - began


def _check_ranks(directory: Path) -> None:
    expected = sorted(f"rank {rank} of {_RANKS}" for rank in range(_RANKS))
    for output in directory.glob("*/*.out"):
        if sorted(output.read_text().splitlines()) != expected:
            raise WrongResult(f"{output} holds {output.read_text()!r}, not what two ranks say")


WORKLOAD = Workload("w11", "MPI runs", (PROGRAM, PYTHON), measure)
