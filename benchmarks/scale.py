"""W7: a million jobs in one store: added, worked off by 16 simulated launchers of 256 nodes each, asked for meanwhile.

Then no-op jobs through real processes with all of these in the store, over the same with 10,000 in it.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from balsam.client import Client
from balsam.job import BalsamJob
from benchmarks import checks
from benchmarks.campaigns import BATCH, NOOP, timed_noop_run
from benchmarks.figures import Figure, Workload, WrongResult
from benchmarks.harness import Bench, RunningSite, percentile

INSERT = Figure("w7.insert", "adding 1,000,000 jobs", "jobs/s", more_is_better=True)
DRAIN = Figure("w7.drain", "16 launchers of 256 nodes, no processes", "jobs/s", more_is_better=True)
QUERY = Figure("w7.query", "point query meanwhile, p99", "ms")
QUERY_MEDIAN = Figure("w7.query_median", "point query meanwhile, median", "ms")
MEMORY = Figure("w7.memory", "peak memory of the job store", "MiB")
THROUGHPUT = Figure(
    "w7.throughput", "no-op jobs, 1,000,000 in the store", "jobs/s", more_is_better=True, limit="with 10,000 in it"
)
_PROCESSES = 2
_LAUNCHERS = 16
_NODES = 256
_ASKED = 1000  # of the jobs may be asked for
_QUERY_SECONDS = 0.01
_STOP_SECONDS = 60.0


def measure(bench: Bench) -> None:
    """Each round has a site of its own; that of the last one serves for the throughput too."""
    many, some, noops = bench.size(1_000_000, 1_000), bench.size(10_000, 100), bench.size(10_000, 60)
    for number in bench.rounds():
        with bench.site() as large, contextlib.ExitStack() as stack:
            _add_and_drain(bench, large, many)
            if number < bench.repeats:
                continue
            small = stack.enter_context(bench.site())
            add(small.client, some)
            Drain(small).run()
            for running in (small, large):
                running.start_launcher()
            for again in range(bench.repeats):
                # In turn: the one after the other may find the machine in another state.
                pair = (small, large) if again % 2 == 0 else (large, small)
                rates = {running.site.path: _throughput(running, noops, f"noop-{again}") for running in pair}
                bench.record(THROUGHPUT, rates[large.site.path], rates[small.site.path])


def _add_and_drain(bench: Bench, running: RunningSite, count: int) -> None:
    began = time.perf_counter()
    ids = add(running.client, count)
    added = time.perf_counter() - began
    drain = Drain(running)
    with bench.profiled(running, WORKLOAD.key), asked(running.client, ids) as answers:
        drained = drain.run()
    peak = peak_memory_mib(running.pid("jobstore"))
    checks.states(running.client, {"JOB_FINISHED": count})
    checks.histories(running.client, {checks.FREE: count})
    bench.record(INSERT, count / added)
    bench.record(DRAIN, count / drained)
    bench.record(QUERY, percentile(answers, 0.99) * 1000)
    bench.record(QUERY_MEDIAN, statistics.median(answers) * 1000)
    bench.record(MEMORY, peak)


def add(client: Client, count: int) -> list[str]:
    """Adds jobs of one node each, and gives the ids of some."""
    every = max(1, count // _ASKED)
    make = client.BalsamJob
    jobs = (make(name=f"job-{i}", workflow=f"wf-{i // 1000}", args=NOOP) for i in range(count))
    ids: list[str] = []
    while batch := list(itertools.islice(jobs, BATCH)):
        make.objects.bulk_create(batch)
        ids += [str(job.job_id) for job in batch[::every]]
    return ids


class Drain:
    """Simulated launchers, in processes of their own and connected."""

    def __init__(self, running: RunningSite) -> None:
        module = "benchmarks.simulated_launchers"
        words = [str(running.site.path), str(_LAUNCHERS // _PROCESSES), str(_NODES)]
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", module, *words],
                env=running.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(_PROCESSES)
        ]

    def run(self) -> float:
        """Lets them work off what there is; gives how long that took, until all is acknowledged [s].

        Raises:
            WrongResult: one of them has ended before.
        """
        try:
            self._hear("ready")
            began = time.perf_counter()
            for process in self._processes:
                assert process.stdin
                process.stdin.write("go\n")
                process.stdin.flush()
            self._hear("drained")
            return time.perf_counter() - began
        finally:
            for process in self._processes:
                try:
                    process.communicate(timeout=_STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()

    def _hear(self, word: str) -> None:
        for process in self._processes:
            assert process.stdout
            said = process.stdout.readline().strip()
            if said != word:
                raise WrongResult(f"a process of simulated launchers said {said!r}, not {word!r}")


@contextlib.contextmanager
def asked(client: Client, ids: list[str]) -> Iterator[list[float]]:
    """Asks for one job after another meanwhile, at random and a hundred a second; gives how long each answer took [s].

    Raises:
        WrongResult: nothing was asked, or an answer was wrong.
    """
    answers: list[float] = []
    wrong: list[str] = []
    stopped = threading.Event()

    def ask() -> None:
        choice = random.Random(0)
        while not stopped.wait(_QUERY_SECONDS):
            job_id = choice.choice(ids)
            began = time.perf_counter()
            try:
                job: BalsamJob = client.BalsamJob.objects.get(pk=job_id)
            except Exception as error:
                wrong.append(f"{type(error).__name__}: {error}")
                return
            answers.append(time.perf_counter() - began)
            if str(job.job_id) != job_id:
                wrong.append(f"asked for {job_id}, got {job.job_id}")

    thread = threading.Thread(target=ask, name="asking")
    thread.start()
    try:
        yield answers
    finally:
        stopped.set()
        thread.join()
    if wrong or not answers:
        raise WrongResult(wrong[0] if wrong else "it was over before anything was asked")


def peak_memory_mib(pid: int) -> float:
    """The most memory that a process has taken so far [MiB]."""
    with open(f"/proc/{pid}/status") as status:
        (line,) = (line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _throughput(running: RunningSite, count: int, workflow: str) -> float:
    seconds = timed_noop_run(running.client, count, workflow)
    checks.ran(running.client, workflow, {checks.FREE: count})
    return count / seconds


FIGURES = (INSERT, DRAIN, QUERY, QUERY_MEDIAN, MEMORY, THROUGHPUT)
WORKLOAD = Workload("w7", "a million jobs", FIGURES, measure)
