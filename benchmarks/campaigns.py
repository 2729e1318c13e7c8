"""Jobs as a script adds them, and waiting until it has seen them end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

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
BATCH = 10_000
"""Jobs that are made and added at once, where there are very many."""
STREAMED = 500
"""Jobs in a batch of a script that wants the first to run while it makes the next."""
WORKFLOW_JOBS = 1000
"""Jobs in each workflow of a store that was filled."""


def noop_jobs(client: Client, count: int, workflow: str) -> list[BalsamJob]:
    """New jobs that do nothing, as many at a time as there are slots; not stored yet."""
    return list(_noop_jobs(client, count, workflow))


def _noop_jobs(client: Client, count: int, workflow: str) -> Iterator[BalsamJob]:
    make = client.BalsamJob
    return (make(name=f"n{i}", workflow=workflow, args=NOOP, node_packing_count=SLOTS) for i in range(count))


def run_until_seen(client: Client, jobs: Iterable[BalsamJob], batch_size: int | None = None) -> None:
    """Adds jobs and returns when all are seen finished, pushed by the job store.

    Args:
        client: of the site.
        jobs: new ones; they may be made one after another.
        batch_size: how many are added at once; None: all.

    Raises:
        WrongResult: one has failed or was killed.
        TimeoutError: one has not ended after `PATIENCE_SECONDS`.
    """
    added = client.BalsamJob.objects.bulk_create(jobs, batch_size)
    ended = balsam.wait([balsam.FutureTask(job, print) for job in added], PATIENCE_SECONDS, "ALL_COMPLETED")
    if len(ended.done) != len(added):
        raise WrongResult(f"{len(ended.failed)} of {len(added)} jobs failed, {len(ended.cancelled)} were killed")


def timed_noop_run(client: Client, count: int, workflow: str) -> float:
    """From before the first job is made until all are seen finished [s]; they are made and added batch by batch."""
    began = time.perf_counter()
    run_until_seen(client, _noop_jobs(client, count, workflow), STREAMED)
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
