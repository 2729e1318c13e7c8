"""W5: 32 client processes at once, each of which adds one job: what the ranks of an MPI run do.

Each starts, adds its job and ends; or all are connected already and are released together. No launcher runs: what the
jobs do is not part of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks import checks
from benchmarks.figures import Figure, Workload, WrongResult
from benchmarks.harness import Bench, RunningSite

STARTING = Figure("w5.starting", "32 clients start, add a job, end", "s", limit="as many processes that load gRPC")
CONNECTED = Figure("w5.connected", "32 connected clients add a job", "s")

LOAD_GRPC = "import grpc; from balsam.v1 import job_service_pb2_grpc"
_ADD = """
import sys
from balsam.launcher.dag import BalsamJob
BalsamJob(name=sys.argv[1], workflow="starting", args="/bin/true").save()
"""
_CONNECT_AND_ADD = """
import os, sys
from balsam.launcher.dag import BalsamJob
BalsamJob.objects.count()
os.write(1, b"+")
sys.stdin.read()
BalsamJob(name=sys.argv[1], workflow="connected", args="/bin/true").save()
os.write(1, b"-")
"""
_WAITING = checks.FREE[:4]


def measure(bench: Bench) -> None:
    """Both in each round, on a site of its own."""
    count = bench.size(32, 2)
    for _ in bench.rounds():
        with bench.site() as running:
            loading = starting(running, LOAD_GRPC, count)
            with bench.profiled(running, WORKLOAD.key):
                seconds = starting(running, _ADD, count)
                together = connected(running, count)
            for workflow in ("starting", "connected"):
                checks.states(running.client, {"PREPROCESSED": count}, workflow)
                checks.histories(running.client, {_WAITING: count}, workflow)
        bench.record(STARTING, seconds, loading)
        bench.record(CONNECTED, together)


def starting(running: RunningSite, program: str, count: int) -> float:
    """From the start of the first process until all have ended [s]."""
    began = time.perf_counter()
    processes = [subprocess.Popen(_command(program, i), env=running.environ) for i in range(count)]
    codes = [process.wait() for process in processes]
    seconds = time.perf_counter() - began
    _must_be_well(codes)
    return seconds


def connected(running: RunningSite, count: int) -> float:
    """From the moment that releases them until the last has heard that its job is added [s]."""
    gate, opener = os.pipe()
    ear, mouth = os.pipe()
    processes = [
        subprocess.Popen(_command(_CONNECT_AND_ADD, i), env=running.environ, stdin=gate, stdout=mouth)
        for i in range(count)
    ]
    os.close(gate)
    os.close(mouth)
    try:
        _hear(ear, b"+" * count)
        began = time.perf_counter()
        os.close(opener)
        opener = -1
        _hear(ear, b"-" * count)
        seconds = time.perf_counter() - began
    finally:
        if opener >= 0:
            os.close(opener)
        os.close(ear)
        codes = [process.wait() for process in processes]
    _must_be_well(codes)
    return seconds


def _command(program: str, number: int) -> list[str]:
    return [sys.executable, "-c", program, f"n{number}"]


def _hear(ear: int, expected: bytes) -> None:
    heard = b""
    while len(heard) < len(expected):
        said = os.read(ear, len(expected) - len(heard))
        if not said:
            raise WrongResult(f"clients ended before all had said {expected[:1]!r}")
        heard += said
    if heard != expected:
        raise WrongResult(f"clients said {heard!r}, not {expected!r}")


def _must_be_well(codes: Sequence[int]) -> None:
    if any(codes):
        raise WrongResult(f"{sum(map(bool, codes))} of {len(codes)} clients failed, one with exit status {max(codes)}")


WORKLOAD = Workload("w5", "many clients at once", (STARTING, CONNECTED), measure)
