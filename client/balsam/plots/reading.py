"""Reads what is plotted: events, page by page, and the few other things that the event log does not tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from balsam.errors import BalsamError, ValidationError
from balsam.fields import JOB_FIELDS
from balsam.job import BalsamJob, is_query
from balsam.plots.series import Collector, Present, Series
from balsam.plots.workflow import MOST_JOBS, Node
from balsam.query import EVERYTHING
from balsam.query import Node as Condition

if TYPE_CHECKING:
    from balsam.client import Client
    from balsam.queryset import QuerySet
    from balsam.v1 import event_pb2

FEW = 20_000
"""Of so many jobs the events are asked for by their ids; of more, all events are read, and those of others left out."""
_IDS = 1000
_PAGE = 10_000
_SHAPE = ("num_nodes", "ranks_per_node", "node_packing_count")


def read(
    jobs: QuerySet[Any] | None = None,
    *,
    last_seconds: float | None = None,
    title: str = "",
    progress: Callable[[int], None] | None = None,
) -> Series:
    """What has happened to jobs, from their events: takes some ten seconds for each million of events.

    Args:
        jobs: a query, such as ``BalsamJob.objects.filter(workflow="w")``; None: all jobs of the site in use.
        last_seconds: only so long back from now [s]; None: from the first event on.
        title: what it is of, for people.
        progress: called with the number of events read so far, now and then.

    Raises:
        ValidationError: `jobs` is no query of jobs.
        BalsamError: they cannot be read.
    """
    query = BalsamJob.objects if jobs is None else jobs
    if not is_query(query) or query.model._kind != BalsamJob._kind:
        raise ValidationError(
            f"jobs is a {type(jobs).__name__}: must be a query, such as BalsamJob.objects.filter(workflow='w')",
            field="jobs",
        )
    client = query.model._client()
    since_us = None if last_seconds is None else time.time_ns() // 1000 - round(last_seconds * 1e6)
    collector = Collector(since_us=since_us, nodes_of=_nodes_of(client, query))
    seen = 0
    for seen, event in enumerate(_events(client, query), start=1):
        stamp = event.time
        collector.add(
            hash(event.job_id), stamp.seconds * 1_000_000 + stamp.nanos // 1000, event.states, deleted=event.deleted
        )
        if progress is not None and not seen % _PAGE:
            progress(seen)
    if progress is not None:
        progress(seen)
    series = collector.series(time.time_ns() // 1000, title=title)
    return replace(series, launchers=_launchers(client, series.edges[0])) if series.edges else series


def _events(client: Client, query: QuerySet[Any]) -> Iterator[event_pb2.Event]:
    """The events of the jobs of a query, of each job in their order."""
    if _condition(query) == EVERYTHING:
        yield from _ahead(client.events.pages())
        return
    if query.count() <= FEW:
        ids = list(dict.fromkeys(map(str, query.values_list("pk", flat=True).iterator(_IDS))))
        for first in range(0, len(ids), _IDS):
            yield from client.events.messages(ids[first : first + _IDS])
        return
    # Hashes of texts have 64 bits: among a million of them, two are equal once in many million times.
    wanted = {hash(str(job_id)) for job_id in query.values_list("pk", flat=True).iterator(_PAGE)}
    for event in _ahead(client.events.pages()):
        if hash(event.job_id) in wanted:
            yield event


def _ahead(pages: Iterator[Sequence[event_pb2.Event]]) -> Iterator[event_pb2.Event]:
    """The events of pages, of which the next is on its way while one is worked on."""
    with ThreadPoolExecutor(1, "balsam-plots") as reader:
        coming = reader.submit(next, pages, ())
        while page := coming.result():
            coming = reader.submit(next, pages, ())
            yield from page


def _condition(query: QuerySet[Any]) -> Condition:
    condition: Condition | None = query._as_condition(JOB_FIELDS, "job_id")
    if condition is None:
        raise ValidationError("jobs is a slice of a query, or one of values: must be all jobs of a query", field="jobs")
    return condition


def _nodes_of(client: Client, query: QuerySet[Any]) -> Callable[[int], float]:
    """Nodes that a job uses while it runs, by the hash of its id."""
    condition = _condition(query)
    groups = sorted(client.jobs.groups(condition, _SHAPE), key=lambda group: -group[1])
    shares = {share_of(*shape) for shape, _ in groups}
    usual = share_of(*groups[0][0]) if groups else 1.0
    others: dict[int, float] = {}
    if len(shares) > 1:
        for page in client.jobs.pages(condition, page_size=_PAGE, fields=_SHAPE):
            for job in page:
                share = share_of(*(job.get(name, 1) for name in _SHAPE))
                if share != usual:
                    others[hash(job["job_id"])] = share
    return lambda key: others.get(key, usual)


def share_of(num_nodes: int, ranks_per_node: int, node_packing_count: int) -> float:
    """Nodes that a job uses while it runs: a serial job its share of one."""
    return 1 / node_packing_count if num_nodes == ranks_per_node == 1 else float(num_nodes)


def _launchers(client: Client, start: float) -> tuple[Present, ...]:
    """The launchers that have been at work since `start` [s since 1970], as far as the job store remembers. Whoever may
    not ask for them gets none; a job store of an earlier version tells only of those that are at work now."""
    from balsam.v1 import session_pb2, session_service_pb2
    from balsam.v1.session_service_pb2_grpc import SessionServiceStub

    now = time.time()
    request = session_service_pb2.ListSessionsRequest()
    request.ended_after.FromMicroseconds(int(start * 1e6))
    try:
        answer = client.call(SessionServiceStub, "ListSessions", request)
    except BalsamError:
        return ()
    found = [session for session in answer.sessions if session.kind == session_pb2.Session.LAUNCHER]
    return tuple(
        Present(
            one.create_time.ToMicroseconds() / 1e6,
            one.end_time.ToMicroseconds() / 1e6 if one.HasField("end_time") else now,
            one.nodes,
        )
        for one in (*answer.ended, *found)
    )


def read_graph(jobs: QuerySet[Any]) -> list[Node]:
    """The jobs of a query, each with the ids of its parents, in order of creation.

    Raises:
        ValidationError: they are more than `MOST_JOBS`.
        BalsamError: they cannot be read.
    """
    count = jobs.count()
    if count > MOST_JOBS:
        raise ValidationError(f"{count:,} jobs are too many for one graph (at most {MOST_JOBS:,}): choose a workflow")
    fields = ("name", "application", "state", "parents")
    pages = jobs.model._client().jobs.pages(_condition(jobs), page_size=_IDS, fields=fields)
    return [
        Node(job["job_id"], job.get("name", "") or "job", job.get("state", ""), tuple(job.get("parents", ())))
        for page in pages
        for job in page
    ]
