"""Jobs as a script adds them, and waiting until it has seen them end."""

from __future__ import annotations

import time
from collections.abc import Sequence

import balsam
from balsam import Q
from balsam.client import Client
from balsam.job import BalsamJob
from benchmarks.figures import WrongResult

SLOTS = 2
"""Jobs that run at once on the node of the benchmarks: this host."""
NOOP = "/bin/true"
PATIENCE_SECONDS = 1800.0
"""Jobs that have not ended after so long never will."""
BATCH = 100_000
"""Jobs that are made and added at once."""
WORKFLOW_JOBS = 1000
"""Jobs in each workflow of a store that was filled."""


def noop_jobs(client: Client, count: int, workflow: str) -> list[BalsamJob]:
    """New jobs that do nothing, as many at a time as there are slots; not stored yet."""
    make = client.BalsamJob
    return [make(name=f"n{i}", workflow=workflow, args=NOOP, node_packing_count=SLOTS) for i in range(count)]


def run_until_seen(client: Client, jobs: Sequence[BalsamJob]) -> None:
    """Adds jobs in one call and returns when all are seen finished, pushed by the job store.

    Raises:
        WrongResult: one has failed or was killed.
        TimeoutError: one has not ended after `PATIENCE_SECONDS`.
    """
    client.BalsamJob.objects.bulk_create(jobs)
    ended = balsam.wait([balsam.FutureTask(job, print) for job in jobs], PATIENCE_SECONDS, "ALL_COMPLETED")
    if len(ended.done) != len(jobs):
        raise WrongResult(f"{len(ended.failed)} of {len(jobs)} jobs failed, {len(ended.cancelled)} were killed")


def timed_noop_run(client: Client, count: int, workflow: str) -> float:
    """From before the first job is made until all are seen finished [s]."""
    began = time.perf_counter()
    run_until_seen(client, noop_jobs(client, count, workflow))
    return time.perf_counter() - began


def fill(client: Client, count: int) -> float:
    """Adds jobs; of every hundred, 97 finish, one fails, one is killed, one waits. Gives how long adding took [s]."""
    began = time.perf_counter()
    make = client.BalsamJob
    for start in range(0, count, BATCH):
        make.objects.bulk_create(
            make(
                name=f"job-{i}",
                workflow=f"wf-{i // WORKFLOW_JOBS}",
                args=NOOP,
                priority=i % 100,
                data={"i": i, "energy": -i % 1000 / 10, "label": f"L{i % 50}"},
            )
            for i in range(start, min(start + BATCH, count))
        )
    seconds = time.perf_counter() - began
    for state, which in (
        ("FAILED", Q(priority=0)),
        ("USER_KILLED", Q(priority=1)),
        ("JOB_FINISHED", Q(priority__gt=2)),
    ):
        make.objects.filter(which).update(state=state)
    return seconds
