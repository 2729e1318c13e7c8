"""Takes pictures of a site: a few questions with bounded answers, however many jobs there are."""

from __future__ import annotations

import datetime
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from balsam.client import Client
from balsam.convert import time_of
from balsam.errors import BalsamError
from balsam.fields import LAUNCH_FIELDS, LAUNCH_OVER
from balsam.query import AllOf, Key, Node, NotOf, Test
from balsam.rpc import Connection
from balsam.states import State
from balsam.v1 import event_pb2, event_service_pb2, job_pb2, launcher_service_pb2, session_pb2
from balsam.v1.event_service_pb2_grpc import EventServiceStub
from balsam.v1.launcher_service_pb2_grpc import LauncherServiceStub
from balsam_cli import listing, selection
from balsam_cli.failures.grouping import FIELDS, group
from balsam_cli.top.picture import Cause, Launch, Picture, Run, Worker, launch_of, shortened
from balsam_cli.watch import Changes
from balsam_cli.why import asking

MOST_RUNS = 200
MOST_FAILED = 500
MOST_CAUSES = 20
MOST_LAUNCHES = 20
_LAUNCHERS_ASKED = 20
_ASK_SECONDS = 2.0
_FAILED, _RUNNING = (job_pb2.Job.State.ValueType(state) for state in (State.FAILED, State.RUNNING))
_RUN_FIELDS = ("name", "workflow", "application", "working_directory")


class Failed:
    """Ids of the jobs that failed last, as events tell of them. For one thread that adds and one that reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: deque[str] = deque(maxlen=MOST_FAILED)

    def see(self, events: Iterable[event_pb2.Event]) -> None:
        """Takes those that failed."""
        ids = [event.job_id for event in events if event.states and event.states[-1] == _FAILED]
        with self._lock:
            self._ids.extend(ids)

    def add(self, ids: Iterable[str]) -> None:
        """Takes those that had failed before, newest first."""
        with self._lock:
            for one in ids:
                if len(self._ids) < MOST_FAILED:
                    self._ids.appendleft(one)

    def ids(self) -> list[str]:
        """The last of them, each once."""
        with self._lock:
            return list(dict.fromkeys(self._ids))


class Observer:
    """Looks at a site again whenever something has happened there, and not more often than does it good.

    Args:
        store: the line to its job store.
        workflow: of which workflow jobs count: exact, or a glob; empty: all.
    """

    def __init__(self, store: Client, workflow: str = "") -> None:
        self._store = store
        self._failed = Failed()
        self._changes = Changes(store, self._failed.see)
        self._is_first = True
        self.workflow = workflow

    @property
    def is_over(self) -> bool:
        """The job store has stopped, or lets us in no more: nothing will be seen again."""
        return self._changes.are_over

    def close(self) -> None:
        """Listens no more."""
        self._changes.close()

    def look_again(self) -> None:
        """There is something to be seen, whatever the job store says."""
        self._changes.look_again()

    def next(self, seconds: float) -> Picture | None:
        """The next picture; None if nothing has happened for so long.

        Raises:
            BalsamError: the job store is away; see `is_over`.
        """
        if not self._changes.wait(seconds):
            return None
        began = time.monotonic()
        try:
            return self._look()
        finally:
            self._changes.looked(began)

    def _look(self) -> Picture:
        store, where = self._store, self._where()
        counts = listing.states_of(store, where)
        sessions = asking.sessions(store)
        runs = _runs(store, where) if counts.get(State.RUNNING.name) else []
        placed = _placed(store, runs, sessions.launchers)
        causes = self._causes(where) if counts.get(State.FAILED.name) else []
        workers = [_worker(one) for one in (*sessions.schedulers, *sessions.launchers)]
        return Picture(time.monotonic(), counts, placed, causes, _launches(store), workers)

    def _where(self) -> list[Node]:
        return selection.job_conditions(workflow=self.workflow or None)

    def _causes(self, where: Sequence[Node]) -> list[Cause]:
        """Of the jobs that failed last, the causes. Those of before are looked for once: no index leads to them."""
        failed = selection.test("state", "EXACT", State.FAILED.name)
        if self._is_first:
            self._is_first = False
            newest = (Key("create_time", descending=True),)
            found = selection.list_jobs(self._store, [failed], limit=MOST_FAILED, fields=("name",), order=newest)
            self._failed.add(str(job["job_id"]) for job in found)
        ids = self._failed.ids()
        if not ids:
            return []
        chosen = [*where, failed, selection.test("job_id", "IN", *ids)]
        groups = group(selection.list_jobs(self._store, chosen, fields=FIELDS))
        return [
            Cause(len(one.job_ids), " ".join(filter(None, (one.application, one.cause, one.said))), one.job_ids[-1])
            for one in groups[:MOST_CAUSES]
        ]


def _runs(store: Client, where: Sequence[Node]) -> list[Run]:
    running = selection.test("state", "EXACT", State.RUNNING.name)
    found = selection.list_jobs(store, [*where, running], limit=MOST_RUNS, fields=_RUN_FIELDS)
    return [
        Run(
            str(job["job_id"]),
            str(job.get("name") or "job"),
            str(job.get("workflow", "")),
            str(job.get("application", "")),
            working_directory=str(job.get("working_directory", "")),
        )
        for job in found
    ]


def _placed(store: Client, runs: Sequence[Run], launchers: Sequence[session_pb2.Session]) -> list[Run]:
    """The runs with node and start: as launchers on this host say, else the start from the history."""
    if not runs:
        return []
    told: dict[str, launcher_service_pb2.Run] = {}
    for session in launchers[:_LAUNCHERS_ASKED]:
        told |= {run.job_id: run for run in _runs_of(store, session)}
    missing = [run.job_id for run in runs if run.job_id not in told]
    starts = _starts(store, missing) if missing else {}
    return [
        replace(
            run,
            node=shortened(told[run.job_id].nodes) if run.job_id in told else "",
            start_time=_start(told[run.job_id]) if run.job_id in told else starts.get(run.job_id),
        )
        for run in runs
    ]


def _start(run: launcher_service_pb2.Run) -> datetime.datetime | None:
    return time_of(run.start_time) if run.HasField("start_time") else None


def _runs_of(store: Client, session: session_pb2.Session) -> Sequence[launcher_service_pb2.Run]:
    if session.host != socket.gethostname() or not session.address:
        return ()
    connection = Connection(store.site, retry_seconds=0, address=session.address)
    try:
        request = launcher_service_pb2.GetLauncherStatusRequest()
        answer = connection.call(LauncherServiceStub, "GetLauncherStatus", request, timeout=_ASK_SECONDS)
    except BalsamError:
        return ()  # it ends, or is somebody else's
    finally:
        connection.close()
    return list(answer.runs)


def _starts(store: Client, ids: Sequence[str]) -> dict[str, datetime.datetime]:
    """When these jobs began to run, the last time."""
    wanted = event_service_pb2.EventFilter(job_ids=ids, states=[_RUNNING])
    request = event_service_pb2.ListEventsRequest(filter=wanted, page_size=10 * MOST_RUNS)
    answer = store.call(EventServiceStub, "ListEvents", request)
    return {event.job_id: time_of(event.time) for event in answer.events}


def _launches(store: Client) -> list[Launch]:
    over = NotOf(Test("state", (), "IN", tuple(sorted(LAUNCH_OVER))))
    defaults = {name: field.default for name, field in LAUNCH_FIELDS.items()}
    pages = store.launches.pages(AllOf((over,)), [Key("launch_id", descending=True)])
    return [launch_of({**defaults, **values}) for values in next(iter(pages), [])[:MOST_LAUNCHES]]


def _worker(session: session_pb2.Session) -> Worker:
    place = f"{session.host}:{session.pid}"
    if session.kind == session_pb2.Session.SCHEDULER:
        return Worker("scheduler", place, "")
    takes = session.workflow_filter or "all"
    nodes = f"{session.nodes} node{'' if session.nodes == 1 else 's'}"
    return Worker("launcher", place, f"{nodes}, {session.job_mode}, takes {takes}, holds {session.leases:,}")
