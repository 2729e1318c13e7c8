"""W10: from the moment at which a change of state is recorded until a subscriber has it, with 100 subscribers.

The job store stamps an event before it commits it, so the time of the commit is part of it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

from benchmarks import checks
from benchmarks.campaigns import noop_jobs
from benchmarks.figures import Figure, Workload, WrongResult
from benchmarks.harness import Bench, RunningSite, percentile

P99 = Figure("w10.p99", "event to 100 subscribers, p99", "ms")
MEDIAN = Figure("w10.median", "event to 100 subscribers, median", "ms")
_PROCESSES = 4
_PAUSE_SECONDS = 0.05  # one change after another: what is measured is no queue
_PATIENCE_SECONDS = 120.0


def measure(bench: Bench) -> None:
    """One site for all rounds, with other jobs in each."""
    subscribers, changes = bench.size(100, 8), bench.size(100, 5)
    with bench.site() as running:
        for number in bench.rounds():
            delays = _one_round(bench, running, f"events-{number}", subscribers, changes)
            checks.states(running.client, {"USER_KILLED": changes}, f"events-{number}")
            bench.record(P99, percentile(delays, 0.99) * 1000)
            bench.record(MEDIAN, statistics.median(delays) * 1000)


def _one_round(bench: Bench, running: RunningSite, workflow: str, subscribers: int, changes: int) -> list[float]:
    """Every delay of every subscriber [s]."""
    jobs = noop_jobs(running.client, changes, workflow)
    running.client.BalsamJob.objects.bulk_create(jobs)
    words = [str(running.site.path), workflow, str(subscribers // _PROCESSES), str(changes)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.subscribers", *words],
            env=running.environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(_PROCESSES)
    ]
    try:
        for process in processes:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise WrongResult("a process of subscribers could not subscribe")
        with bench.profiled(running, WORKLOAD.key):
            for job in jobs:
                time.sleep(_PAUSE_SECONDS)
                job.update_state("USER_KILLED")
            heard = [process.communicate(timeout=_PATIENCE_SECONDS)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    delays: list[float] = [delay for text in heard for delay in json.loads(text)]
    if len(delays) != subscribers * changes:
        raise WrongResult(f"{len(delays)} events arrived, not {subscribers * changes}")
    return delays


WORKLOAD = Workload("w10", "events", (P99, MEDIAN), measure)
