"""W3: one job at a time on an idle system: from before it is made until its process runs, and until its end is seen.

The process tells itself when it runs. The end is pushed to the client: nobody polls.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import balsam
from balsam.job import BalsamJob
from benchmarks import checks, limits
from benchmarks.campaigns import PATIENCE_SECONDS, SLOTS
from benchmarks.figures import Figure, Workload, WrongResult
from benchmarks.harness import Bench, RunningSite

STARTED = Figure("w3.started", "submit to process started", "ms", limit="gRPC call and synced commit")
SEEN = Figure("w3.seen", "submit to final state seen", "ms", limit="two gRPC calls and synced commits")
_PAUSE_SECONDS = 0.02  # what follows the end of one job must not be in the way of the next


def measure(bench: Bench) -> None:
    """The median of the jobs of a round is that round's value."""
    count = bench.size(50, 5)
    with bench.site(launcher=True) as running:
        for number in bench.rounds():
            workflow = f"latency-{number}"
            with bench.profiled(running, WORKLOAD.key):
                delays = [_one(running, f"n{i}", workflow) for i in range(count)]
            checks.ran(running.client, workflow, {checks.FREE: count})
            call = limits.round_trip_seconds(bench) + limits.commit_seconds(bench, running)
            started, seen = (statistics.median(values) for values in zip(*delays, strict=True))
            bench.record(STARTED, started * 1000, call * 1000)
            bench.record(SEEN, seen * 1000, 2 * call * 1000)


def _one(running: RunningSite, name: str, workflow: str) -> tuple[float, float]:
    """Runs one job; gives its two delays [s]."""
    time.sleep(_PAUSE_SECONDS)
    began = time.time_ns()
    job = running.client.BalsamJob(name=name, workflow=workflow, args="date +%s%N", node_packing_count=SLOTS)
    job.save()
    balsam.wait([balsam.FutureTask(job, print)], PATIENCE_SECONDS)
    seen = time.time_ns()
    started = _told(job)
    if not began <= started <= seen:
        raise WrongResult(
            f"the process of {job.cute_id} says that it started at {started} ns, not in {began} to {seen}"
        )
    return (started - began) / 1e9, (seen - began) / 1e9


def _told(job: BalsamJob) -> int:
    """When the process of a job ran, by its own word [ns since 1970]."""
    job.refresh_from_db()
    return int(Path(job.working_directory, f"{job.name}.out").read_text())


WORKLOAD = Workload("w3", "latency on an idle system", (STARTED, SEEN), measure)
