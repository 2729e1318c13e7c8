"""Jobs as a script adds them, and waiting until it has seen them end."""

from __future__ import annotations

import time
from collections.abc import Sequence

import balsam
from balsam.client import Client
from balsam.job import BalsamJob
from benchmarks.figures import WrongResult

SLOTS = 2
"""Jobs that run at once on the node of the benchmarks: this host."""
NOOP = "/bin/true"


def noop_jobs(client: Client, count: int, workflow: str) -> list[BalsamJob]:
    """New jobs that do nothing, as many at a time as there are slots; not stored yet."""
    make = client.BalsamJob
    return [make(name=f"n{i}", workflow=workflow, args=NOOP, node_packing_count=SLOTS) for i in range(count)]


def run_until_seen(client: Client, jobs: Sequence[BalsamJob]) -> None:
    """Adds jobs in one call and returns when all are seen finished, pushed by the job store.

    Raises:
        WrongResult: one has not finished.
    """
    client.BalsamJob.objects.bulk_create(jobs)
    ended = balsam.wait([balsam.FutureTask(job, print) for job in jobs], return_when="ALL_COMPLETED")
    if len(ended.done) != len(jobs):
        raise WrongResult(f"{len(ended.failed)} of {len(jobs)} jobs failed, {len(ended.cancelled)} were killed")


def timed_noop_run(client: Client, count: int, workflow: str) -> float:
    """From before the first job is made until all are seen finished [s]."""
    began = time.perf_counter()
    run_until_seen(client, noop_jobs(client, count, workflow))
    return time.perf_counter() - began
