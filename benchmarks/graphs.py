"""W4: jobs that wait for each other: a chain, and one that many wait for, which one waits for."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from balsam.client import Client
from balsam.job import BalsamJob
from benchmarks import checks, limits
from benchmarks.campaigns import SLOTS, noop_jobs, run_until_seen
from benchmarks.figures import Figure, Workload
from benchmarks.harness import Bench

CHAIN = Figure("w4.chain", "chain of 50 no-op jobs", "s", limit="as many process starts and synced commits")
FAN = Figure("w4.fan", "1 -> 200 -> 1 no-op jobs", "s", limit="as many process starts")


def measure(bench: Bench) -> None:
    """Both in each round, on a site of its own."""
    links, middle, raw = bench.size(50, 5), bench.size(200, 10), bench.size(500, 40)
    for _ in bench.rounds():
        with bench.site(launcher=True) as running:
            with bench.profiled(running, WORKLOAD.key):
                chained = _timed(running.client, lambda: chain(running.client, links))
                fanned = _timed(running.client, lambda: fan(running.client, middle))
            checks.ran(running.client, "chain", {checks.FREE: 1, checks.CHILD: links - 1})
            checks.ran(running.client, "fan", {checks.FREE: 1, checks.CHILD: middle + 1})
            alone = 1 / limits.process_starts(bench.fresh("raw"), raw, threads=1)
            together = 1 / limits.process_starts(bench.fresh("raw"), raw, threads=SLOTS)
            commit = limits.commit_seconds(bench, running)
        bench.record(CHAIN, chained, links * (alone + commit))
        bench.record(FAN, fanned, (middle + 2) * together)


def _timed(client: Client, make: Callable[[], list[BalsamJob]]) -> float:
    began = time.perf_counter()
    run_until_seen(client, make())
    return time.perf_counter() - began


def chain(client: Client, count: int) -> list[BalsamJob]:
    """Jobs of which each waits for the one before."""
    jobs = noop_jobs(client, count, "chain")
    for parent, child in itertools.pairwise(jobs):
        child.set_parents([parent])
    return jobs


def fan(client: Client, width: int) -> list[BalsamJob]:
    """One job, `width` that wait for it, and one that waits for all of these."""
    first, *middle, last = noop_jobs(client, width + 2, "fan")
    for job in middle:
        job.set_parents([first])
    last.set_parents(middle)
    return [first, *middle, last]


WORKLOAD = Workload("w4", "jobs that wait for each other", (CHAIN, FAN), measure)
