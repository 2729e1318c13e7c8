"""W2: one client adds jobs, all in one call and one by one; each call returns when what it added is durable.

No launcher runs: the jobs move as far as they can without one.
"""

from __future__ import annotations

import time

from benchmarks import checks, limits
from benchmarks.campaigns import noop_jobs
from benchmarks.figures import Figure, Workload
from benchmarks.harness import Bench

BULK = Figure("w2.bulk", "10,000 jobs in one call", "jobs/s", more_is_better=True, limit="raw rows, one transaction")
SINGLE = Figure("w2.single", "500 jobs one by one", "ms each", limit="gRPC call and synced commit")
_WAITING = checks.FREE[:4]


def measure(bench: Bench) -> None:
    """Each round has a site of its own."""
    bulk, single = bench.size(10_000, 200), bench.size(500, 20)
    for _ in bench.rounds():
        with bench.site() as running:
            noop_jobs(running.client, 1, "warm-up")[0].save()
            with bench.profiled(running, WORKLOAD.key):
                began = time.perf_counter()
                running.client.BalsamJob.objects.bulk_create(noop_jobs(running.client, bulk, "bulk"))
                middle = time.perf_counter()
                for job in noop_jobs(running.client, single, "single"):
                    job.save()
                end = time.perf_counter()
            for workflow, count in (("bulk", bulk), ("single", single)):
                checks.states(running.client, {"PREPROCESSED": count}, workflow)
                checks.histories(running.client, {_WAITING: count}, workflow)
            rows = limits.inserted_rows(bench, running, bench.size(100_000, 2_000))
            call = limits.round_trip_seconds(bench) + limits.commit_seconds(bench, running)
        bench.record(BULK, bulk / (middle - began), rows)
        bench.record(SINGLE, (end - middle) / single * 1000, call * 1000)


WORKLOAD = Workload("w2", "insertion", (BULK, SINGLE), measure)
