"""Queries over a large store, as a script that uses the Python API sees them.

A job store is filled with jobs in many workflows, most of them ended. Then each question is asked several times, and
the median counts: pages by filters of every kind, counts, changes of many jobs at once, and the iteration over all of
them, with the memory that the client takes for it.

    python benchmarks/queries.py [--jobs 1000000] [--repeats 5] [--database sqlite|postgres] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import balsam
from balsam import Q
from balsam.client import Client

BALSAM = [sys.executable, "-m", "balsam_cli"]
BATCH = 100_000
WORKFLOW_JOBS = 1000


@dataclass(frozen=True)
class Question:
    """Something to ask, and how long it may take [s]; None: no figure is promised."""

    title: str
    ask: Callable[[], Any]
    limit: float | None = None


def main() -> int:
    """Measures, prints a table, writes JSON where asked. Exit code 1: a limit was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--database", default="sqlite")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="balsam-bench-") as scratch,
        job_store(Path(scratch) / "site", options.database) as client,
    ):
        print(f"{options.jobs} jobs on {options.database}, {os.cpu_count()} cores", flush=True)
        result = {"filling_s": fill(client, options.jobs)}
        print(f"  filling the store      {options.jobs / result['filling_s']:10.0f} jobs/s", flush=True)
        missed = False
        for question in questions(client, options.jobs):
            seconds = statistics.median(timed(question.ask) for _ in range(options.repeats))
            late = question.limit is not None and seconds > question.limit
            missed |= late
            promise = "" if question.limit is None else f"  (limit {question.limit * 1000:.0f} ms)"
            print(f"  {question.title:48} {seconds * 1000:9.1f} ms{promise}{'  MISSED' if late else ''}", flush=True)
            result[question.title] = seconds
        result |= long_runs(client, options.jobs)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        machine = {"cores": os.cpu_count(), "memory_bytes": memory}
        about = {"machine": machine, "jobs": options.jobs, "database": options.database}
        options.json.write_text(json.dumps(about | result, indent=2))
    return int(missed)


@contextlib.contextmanager
def job_store(path: Path, database: str) -> Iterator[Client]:
    """A fresh site whose services run."""
    subprocess.run([*BALSAM, "init", str(path), "--db", database], check=True, stdout=subprocess.DEVNULL)
    environment = os.environ | {"BALSAM_DB_PATH": str(path)}
    subprocess.run([*BALSAM, "up"], check=True, stdout=subprocess.DEVNULL, env=environment)
    try:
        yield balsam.connect(path)
    finally:
        subprocess.run([*BALSAM, "down"], check=True, stdout=subprocess.DEVNULL, env=environment)


def fill(client: Client, count: int) -> float:
    """Adds jobs; of every hundred, 97 finish, one fails, one is killed, one waits. Gives how long adding took [s]."""
    began = time.perf_counter()
    for start in range(0, count, BATCH):
        client.BalsamJob.objects.bulk_create(
            client.BalsamJob(
                name=f"job-{i}",
                workflow=f"wf-{i // WORKFLOW_JOBS}",
                args="/bin/true",
                priority=i % 100,
                data={"i": i, "energy": -i % 1000 / 10, "label": f"L{i % 50}"},
            )
            for i in range(start, min(start + BATCH, count))
        )
    filled = time.perf_counter() - began
    jobs = client.BalsamJob.objects
    for state, which in (
        ("FAILED", Q(priority=0)),
        ("USER_KILLED", Q(priority=1)),
        ("JOB_FINISHED", Q(priority__gt=2)),
    ):
        jobs.filter(which).update(state=state)
    return filled


def questions(client: Client, count: int) -> list[Question]:
    """What is asked. The limits are those of a million jobs."""
    jobs = client.BalsamJob.objects
    some = jobs.filter(name=f"job-{count // 2}").get().job_id
    pages: dict[str, Any] = {
        "everything": jobs.all(),
        "one workflow": jobs.filter(workflow=f"wf-{count // WORKFLOW_JOBS // 2}"),
        "state, nearly all": jobs.filter(state="JOB_FINISHED"),
        "state, one in a hundred": jobs.filter(state="FAILED"),
        "state and workflow": jobs.filter(state="FAILED", workflow=f"wf-{count // WORKFLOW_JOBS // 2}"),
        "name, exact": jobs.filter(name=f"job-{count - 1}"),
        "name contains": jobs.filter(name__contains="99"),
        "data, a half": jobs.filter(data__energy__lt=-50.0) | jobs.filter(data__energy__gt=49.9),
        "data, one in fifty": jobs.filter(data__label="L7"),
        "Q, mixed": jobs.filter(Q(state="FAILED") | Q(data__label="L7") & ~Q(workflow="wf-1")),
        "the newest": jobs.order_by("-create_time"),
        "no match": jobs.filter(workflow="no such workflow"),
    }
    first = [
        Question(f"first page: {title}", functools.partial(first_page, query), 0.1) for title, query in pages.items()
    ]
    return [
        *first,
        Question("one job by id", lambda: jobs.get(pk=some), 0.1),
        Question("count of all", lambda: jobs.count()),
        Question("count by state", lambda: list(jobs.values("state").annotate(n=balsam.Count("pk")))),
        Question("count of a state", lambda: jobs.filter(state="FAILED").count()),
        Question("count by data", lambda: jobs.filter(data__energy__gt=49.9).count()),
        Question("change of a workflow of 1000", lambda: jobs.filter(workflow="wf-3").update(priority=5)),
    ]


def first_page(query: Any) -> list[Any]:
    """The first hundred jobs of a query."""
    return list(query[:100])


def long_runs(client: Client, count: int) -> dict[str, float]:
    """The iteration over all, and a change of all, with the memory that the client takes."""
    jobs = client.BalsamJob.objects
    before = memory_mib()
    seconds = timed(lambda: sum(1 for _ in jobs.iterator()))
    more = memory_mib() - before
    print(
        f"  iterating over all objects  {count / seconds:10.0f} jobs/s, {more:.1f} MiB more in the client", flush=True
    )
    names = timed(lambda: sum(1 for _ in jobs.values_list("name", flat=True).iterator()))
    print(f"  iterating over all names    {count / names:10.0f} jobs/s", flush=True)
    change = timed(lambda: jobs.all().update(description="new"))
    print(f"  changing a field of all     {count / change:10.0f} jobs/s", flush=True)
    return {"iterate_s": seconds, "iterate_mib": more, "names_s": names, "change_s": change}


def memory_mib() -> float:
    """The most memory that this process has taken [MiB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(work: Callable[[], object]) -> float:
    """How long something takes [s]."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
