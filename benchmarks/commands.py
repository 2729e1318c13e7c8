"""W6: how long a person waits for a command, from the start of its process to its end."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.campaigns import fill
from benchmarks.clients import LOAD_GRPC
from benchmarks.figures import Figure, Workload, WrongResult
from benchmarks.harness import BALSAM, Bench, RunningSite

_PYTHON = "bare Python"
_GRPC = "Python that loads gRPC and messages"
HELP = Figure("w6.help", "balsam --help", "ms", limit=_PYTHON)
LS_SOME = Figure("w6.ls_some", "balsam ls, 10,000 jobs", "ms", limit=_GRPC)
LS_MANY = Figure("w6.ls_many", "balsam ls, 1,000,000 jobs", "ms", limit=_GRPC)
STATES = Figure("w6.states", "balsam ls --by-states, 1,000,000 jobs", "ms", limit=_GRPC)
_ROWS = 100  # that a table shows


def measure(bench: Bench) -> None:
    """One site of each size for all rounds: nothing changes there."""
    some, many, runs = bench.size(10_000, 200), bench.size(1_000_000, 400), bench.size(10, 1)
    with bench.site() as small, bench.site() as large:
        fill(small.client, some)
        fill(large.client, many)
        _check(large, many)
        for _ in bench.rounds():
            python, grpc = (_median_ms(large, [sys.executable, "-c", code], runs) for code in ("pass", LOAD_GRPC))
            with bench.profiled(large, WORKLOAD.key):
                bench.record(HELP, _median_ms(large, [*BALSAM, "--help"], runs), python)
                bench.record(LS_SOME, _median_ms(small, [*BALSAM, "ls"], runs), grpc)
                bench.record(LS_MANY, _median_ms(large, [*BALSAM, "ls"], runs), grpc)
                bench.record(STATES, _median_ms(large, [*BALSAM, "ls", "--by-states"], runs), grpc)


def _median_ms(running: RunningSite, command: Sequence[str], runs: int) -> float:
    return statistics.median(_seconds(running, command) for _ in range(runs)) * 1000


def _seconds(running: RunningSite, command: Sequence[str]) -> float:
    began = time.perf_counter()
    nowhere = subprocess.DEVNULL
    subprocess.run(command, check=True, env=running.environ, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    return time.perf_counter() - began


def _check(running: RunningSite, count: int) -> None:
    """The commands show what there is."""
    listed, counted, helped = (running.command(*words) for words in (["ls"], ["ls", "--by-states"], ["--help"]))
    rows = sum(" job-" in line for line in listed.splitlines())
    if rows != min(_ROWS, count):
        raise WrongResult(f"`balsam ls` shows {rows} jobs of {count}:\n{listed[:1000]}")
    numbers = [int(word.replace(",", "")) for word in counted.split() if word.replace(",", "").isdigit()]
    if sum(numbers) not in (count, 2 * count):  # with a line for all of them, or without
        raise WrongResult(f"`balsam ls --by-states` does not count {count} jobs:\n{counted}")
    if "Usage: balsam" not in helped:
        raise WrongResult(f"`balsam --help` says:\n{helped[:1000]}")


WORKLOAD = Workload("w6", "start-up of commands", (HELP, LS_SOME, LS_MANY, STATES), measure)
