"""W8: what a site costs that has jobs and nothing to do: 100,000 that have ended, and 1,000 that wait.

Half of these wait for a parent, the others for a launcher of more nodes than there is.
"""

from __future__ import annotations

import time

import psutil

from benchmarks import checks
from benchmarks.campaigns import NOOP
from benchmarks.figures import Figure, Workload, WrongResult
from benchmarks.harness import Bench, RunningSite
from benchmarks.limits import postgres_connection

CPU = Figure("w8.cpu", "processor time of all services, idle", "% of a core")
SCANS = Figure("w8.scans", "scans of the jobs table, idle", "in 60 s")
_SCANS = "SELECT coalesce(sum(seq_scan + coalesce(idx_scan, 0)), 0) FROM pg_stat_user_tables WHERE relname = 'job'"
_PATIENCE_SECONDS = 30.0
_TOLD_SECONDS = 12  # until PostgreSQL's processes have told what they did: those that idle do so after 10 s


def measure(bench: Bench) -> None:
    """One site for all rounds."""
    ended, waiting, seconds = bench.size(100_000, 100), bench.size(1_000, 10), bench.size(60, 1)
    with bench.site(launcher=True) as running:
        _fill(running, ended, waiting)
        if bench.database == "postgres":
            _must_see_a_scan(running)
        told = bench.size(_TOLD_SECONDS, 1)
        time.sleep(told)
        if bench.database == "postgres":
            _tidy(running)
        for _ in bench.rounds():
            time.sleep(told)
            before_scans = scans(running)
            with bench.profiled(running, WORKLOAD.key):
                before = processor_seconds(running)
                time.sleep(seconds)
                used = processor_seconds(running) - before
            bench.record(CPU, 100 * used / seconds)
            if bench.database == "postgres":
                time.sleep(told)
                bench.record(SCANS, scans(running) - before_scans)
        runnable = waiting - waiting // 2
        # The first job of the launcher was one more.
        states = {"JOB_FINISHED": ended + 1, "PREPROCESSED": runnable, "AWAITING_PARENTS": waiting - runnable}
        checks.states(running.client, states)


def _fill(running: RunningSite, ended: int, waiting: int) -> None:
    make = running.client.BalsamJob
    large = [
        make(name=f"large-{i}", workflow="waiting", args=NOOP, num_nodes=1000) for i in range(waiting - waiting // 2)
    ]
    make.objects.bulk_create(large)
    children = [make(name=f"child-{i}", workflow="waiting", args=NOOP) for i in range(waiting // 2)]
    for child in children:
        child.set_parents(large[:1])
    make.objects.bulk_create(children)
    # Too large for the launcher as well, so that it does not begin with them before they have ended.
    make.objects.bulk_create(make(name=f"ended-{i}", workflow="ended", args=NOOP, num_nodes=1000) for i in range(ended))
    make.objects.filter(workflow="ended").update(state="JOB_FINISHED")


def processor_seconds(running: RunningSite) -> float:
    """What all processes of a site have used so far, with those that they have taken leave of [s]."""
    return sum(_of_process(process) for process in running.processes())


def _of_process(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def scans(running: RunningSite) -> float:
    """How often the table of jobs has been read so far, whole or by an index, as far as PostgreSQL has been told."""
    if running.site.settings.database != "postgres":
        return 0.0
    connection = postgres_connection(running)
    with connection.cursor() as cursor:
        cursor.execute(_SCANS)
        (count,) = cursor.fetchone() or (0,)
    connection.close()
    return float(count)


def _tidy(running: RunningSite) -> None:
    """Has the server do now what it would do by itself in the next minutes, after so many changes."""
    connection = postgres_connection(running)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
    connection.close()


def _must_see_a_scan(running: RunningSite) -> None:
    """Makes one, and waits until it is counted: what is not counted would pass for what does not happen."""
    before, deadline = scans(running), time.monotonic() + _PATIENCE_SECONDS
    running.command("ls")
    while scans(running) == before:
        if time.monotonic() > deadline:
            raise WrongResult(f"PostgreSQL has counted no scan of the jobs table {_PATIENCE_SECONDS:g} s after one")
        time.sleep(0.1)


WORKLOAD = Workload("w8", "an idle site", (CPU, SCANS), measure)
