"""W9: from the start of `balsam kill` until the process of the job is gone."""

from __future__ import annotations

import os
import select
import statistics
import subprocess
import time
from pathlib import Path

from balsam.job import BalsamJob
from balsam.states import State
from benchmarks import checks
from benchmarks.figures import Figure, Workload, WrongResult
from benchmarks.harness import BALSAM, Bench, RunningSite, percentile

MEDIAN = Figure("w9.median", "balsam kill to process gone, median", "ms")
P99 = Figure("w9.p99", "balsam kill to process gone, p99", "ms")
_KILLED = (*checks.FREE[:5], State.USER_KILLED)
_PATIENCE_SECONDS = 60.0


def measure(bench: Bench) -> None:
    """The jobs of a round run and are killed one after another."""
    count = bench.size(100, 3)
    with bench.site(launcher=True) as running:
        for number in bench.rounds():
            workflow = f"kills-{number}"
            with bench.profiled(running, WORKLOAD.key):
                delays = [_one(running, f"n{i}", workflow) for i in range(count)]
            checks.states(running.client, {"USER_KILLED": count}, workflow)
            checks.histories(running.client, {_KILLED: count}, workflow)
            checks.outputs(running.site.data / workflow, count)
            bench.record(MEDIAN, statistics.median(delays) * 1000)
            bench.record(P99, percentile(delays, 0.99) * 1000)


def _one(running: RunningSite, name: str, workflow: str) -> float:
    """Runs one job, kills it, and gives how long that took [s]."""
    job = running.client.BalsamJob(name=name, workflow=workflow, args="bash -c 'echo $$; exec sleep 3600'")
    job.save()
    descriptor = os.pidfd_open(_pid(job))
    gone = select.poll()
    gone.register(descriptor, select.POLLIN)
    began = time.perf_counter()
    command = subprocess.Popen(
        [*BALSAM, "kill", str(job.job_id)],
        env=running.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    ended = gone.poll(_PATIENCE_SECONDS * 1000)
    seconds = time.perf_counter() - began
    os.close(descriptor)
    if command.wait() != 0 or not ended:
        raise WrongResult(f"`balsam kill` ended with {command.returncode}; the process {'went' if ended else 'stays'}")
    return seconds


def _pid(job: BalsamJob) -> int:
    """The process of a job, once it runs."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        job.refresh_from_db()
        output = Path(job.working_directory, f"{job.name}.out")
        if job.state == "RUNNING" and output.exists() and (text := output.read_text()).endswith("\n"):
            return int(text)
        time.sleep(0.01)
    raise WrongResult(f"{job.cute_id} does not run after {_PATIENCE_SECONDS:g} s")


WORKLOAD = Workload("w9", "killing a job", (MEDIAN, P99), measure)
