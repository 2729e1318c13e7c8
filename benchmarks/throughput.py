"""W1: jobs that do nothing, two at a time, from before the first is made until the client has seen all finished.

Over the rate at which this machine starts such processes from Python at all, measured before and after, in the same
round.
"""

from __future__ import annotations

from benchmarks import checks, limits
from benchmarks.campaigns import timed_noop_run
from benchmarks.figures import Figure, Workload
from benchmarks.harness import Bench

_LIMIT = "raw process starts"
FEW = Figure("w1.few", "2,000 no-op jobs", "jobs/s", more_is_better=True, limit=_LIMIT)
MANY = Figure("w1.many", "10,000 no-op jobs", "jobs/s", more_is_better=True, limit=_LIMIT)


def measure(bench: Bench) -> None:
    """Each round has a site of its own."""
    for figure, count in ((FEW, bench.size(2_000, 40)), (MANY, bench.size(10_000, 80))):
        for _ in bench.rounds():
            one_round(bench, figure, count)


def one_round(bench: Bench, figure: Figure, count: int) -> None:
    """Starts processes, runs jobs, starts processes again."""
    raw = bench.size(2_000, 40)
    with bench.site(launcher=True) as running:
        before = limits.process_starts(bench.fresh("raw"), raw)
        with bench.profiled(running, figure.key):
            seconds = timed_noop_run(running.client, count, "throughput")
        after = limits.process_starts(bench.fresh("raw"), raw)
        checks.ran(running.client, "throughput", {checks.FREE: count})
    bench.record(figure, count / seconds, (before + after) / 2)


WORKLOAD = Workload("w1", "throughput of no-op jobs", (FEW, MANY), measure)
