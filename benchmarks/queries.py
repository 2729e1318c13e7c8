"""Queries over a large store, as a script that uses the Python API sees them.

The store has a million jobs in many workflows, most of them ended. Pages by filters of every kind, counts, a change of
many jobs at once; then the iteration over all of them, with the memory that it takes, and a change of all.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import balsam
from balsam import Q
from balsam.client import Client
from benchmarks.campaigns import WORKFLOW_JOBS, fill
from benchmarks.figures import Figure, Workload, WrongResult
from benchmarks.harness import Bench, RunningSite

_ASKED = 5  # times in a round
_PAGE = 100
_ITERATE = """
import resource, sys
from balsam import BalsamJob
def mib(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
next(iter(BalsamJob.objects.all()[:1]), None)
before = mib()
print(sum(1 for _ in BalsamJob.objects.iterator()), mib() - before)
"""


@dataclass(frozen=True)
class Question:
    """Something to ask.

    Attributes:
        figure: how long it takes.
        ask: asks it of a store, with so many jobs in it.
        answer: how many jobs, rows or changes the answer has; None: not known beforehand.
    """

    figure: Figure
    ask: Callable[[Client, int], Any]
    answer: Callable[[int], int | None] = lambda count: None


def _middle(count: int) -> str:
    return f"wf-{count // WORKFLOW_JOBS // 2}"


def _page(key: str, title: str, query: Callable[[Any, int], Any], rows: int | None = _PAGE) -> Question:
    """The first page of a query; `rows`: how many it has in a store that is large enough."""
    figure = Figure(f"queries.{key}", f"first page: {title}", "ms")
    return Question(figure, lambda client, count: list(query(client.BalsamJob.objects, count)[:_PAGE]), lambda _: rows)


def _other(key: str, title: str, ask: Callable[[Any, int], Any], answer: Callable[[int], int | None]) -> Question:
    return Question(
        Figure(f"queries.{key}", title, "ms"), lambda client, count: ask(client.BalsamJob.objects, count), answer
    )


QUESTIONS: tuple[Question, ...] = (
    _page("all", "everything", lambda jobs, count: jobs.all()),
    _page("workflow", "one workflow", lambda jobs, count: jobs.filter(workflow=_middle(count))),
    _page("finished", "state, nearly all", lambda jobs, count: jobs.filter(state="JOB_FINISHED")),
    _page("failed", "state, one in a hundred", lambda jobs, count: jobs.filter(state="FAILED"), None),
    _page(
        "failed_in_workflow",
        "state and workflow",
        lambda jobs, count: jobs.filter(state="FAILED", workflow=_middle(count)),
        None,
    ),
    _page("name", "name, exact", lambda jobs, count: jobs.filter(name=f"job-{count - 1}"), 1),
    _page("name_contains", "name contains", lambda jobs, count: jobs.filter(name__contains="99"), None),
    _page(
        "data",
        "data, a half",
        lambda jobs, count: jobs.filter(data__energy__lt=-50.0) | jobs.filter(data__energy__gt=49.9),
    ),
    _page("label", "data, one in fifty", lambda jobs, count: jobs.filter(data__label="L7"), None),
    _page(
        "mixed",
        "Q, mixed",
        lambda jobs, count: jobs.filter(Q(state="FAILED") | Q(data__label="L7") & ~Q(workflow="wf-1")),
        None,
    ),
    _page("newest", "the newest", lambda jobs, count: jobs.order_by("-create_time")),
    _page("none", "no match", lambda jobs, count: jobs.filter(workflow="no such workflow"), 0),
    _other("count", "count of all", lambda jobs, count: jobs.count(), lambda count: count),
    _other(
        "count_by_state",
        "count by state",
        lambda jobs, count: list(jobs.values("state").annotate(n=balsam.Count("pk"))),
        lambda count: 4,
    ),
    _other(
        "count_failed", "count of a state", lambda jobs, count: jobs.filter(state="FAILED").count(), lambda n: n // 100
    ),
    _other("count_data", "count by data", lambda jobs, count: jobs.filter(data__label="L7").count(), lambda n: n // 50),
    _other(
        "change_workflow",
        "change of a workflow of 1,000",
        lambda jobs, count: jobs.filter(workflow="wf-0").update(description=f"at {time.time_ns()}"),
        lambda count: min(count, WORKFLOW_JOBS),
    ),
)
ITERATE = Figure("queries.iterate", "iterating over all objects", "jobs/s", more_is_better=True)
ITERATE_MEMORY = Figure("queries.iterate_memory", "iterating: more memory in the client", "MiB")
CHANGE = Figure("queries.change", "changing a field of all", "jobs/s", more_is_better=True)


def measure(bench: Bench) -> None:
    """One site for all rounds."""
    count = bench.size(1_000_000, 1_000)
    with bench.site() as running:
        fill(running.client, count)
        for number in bench.rounds():
            with bench.profiled(running, WORKLOAD.key):
                for question in QUESTIONS:
                    seconds = [_timed(running.client, question, count) for _ in range(_ASKED)]
                    bench.record(question.figure, statistics.median(seconds) * 1000)
                _iterate(bench, running, count)
                began = time.perf_counter()
                changed = running.client.BalsamJob.objects.all().update(description=f"round {number}")
                bench.record(CHANGE, count / (time.perf_counter() - began))
            if changed != count:
                raise WrongResult(f"{changed} jobs were changed, not {count}")


def _timed(client: Client, question: Question, count: int) -> float:
    began = time.perf_counter()
    answer = question.ask(client, count)
    seconds = time.perf_counter() - began
    size, expected = answer if isinstance(answer, int) else len(answer), question.answer(count)
    if expected is not None and size != expected:
        raise WrongResult(f"{question.figure.title}: {size}, not {expected}")
    return seconds


def _iterate(bench: Bench, running: RunningSite, count: int) -> None:
    """In a process of its own, whose memory nothing else has grown; its start is part of the time."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _ITERATE], check=True, env=running.environ, stdout=subprocess.PIPE, text=True
    )
    seconds = time.perf_counter() - began
    seen, more = done.stdout.split()
    if int(seen) != count:
        raise WrongResult(f"the iteration has seen {seen} jobs, not {count}")
    bench.record(ITERATE, count / seconds)
    bench.record(ITERATE_MEMORY, float(more))


FIGURES = (*(question.figure for question in QUESTIONS), ITERATE, ITERATE_MEMORY, CHANGE)
WORKLOAD = Workload("queries", "queries of the Python API, a million jobs", FIGURES, measure)
