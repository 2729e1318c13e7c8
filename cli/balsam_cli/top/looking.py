"""Takes pictures of a site: a few questions with bounded answers, however many jobs there are."""

from __future__ import annotations

import datetime
import itertools
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from balsam.client import Client
from balsam.convert import time_of
from balsam.errors import BalsamError
from balsam.fields import LAUNCH_FIELDS, LAUNCH_OVER
from balsam.patterns import matches
from balsam.query import AllOf, Key, Node, NotOf, Test
from balsam.rpc import Connection
from balsam.states import State
from balsam.v1 import launcher_service_pb2, session_pb2
from balsam.v1.launcher_service_pb2_grpc import LauncherServiceStub
from balsam_cli import listing, selection
from balsam_cli.failures.grouping import FIELDS, Group, group
from balsam_cli.top.picture import Cause, Launch, Picture, Run, Worker, launch_of, shortened
from balsam_cli.top.told import MOST_FAILED, Told
from balsam_cli.watch import Changes
from balsam_cli.why import asking

MOST_RUNS = 200
_MOST_ASKED = 2000  # of the jobs that run
MOST_CAUSES = 20
MOST_LAUNCHES = 20
_LAUNCHERS_ASKED = 20
_ASK_SECONDS = 2.0
_RUN_FIELDS = ("name", "workflow", "application")
_RUNNING_ONLY, _FAILED_ONLY = (selection.test("state", "EXACT", name) for name in ("RUNNING", "FAILED"))


class Observer:
    """Looks at a site again whenever something has happened there, and not more often than does it good.

    Args:
        store: the line to its job store.
        workflow: of which workflow jobs count: exact, or a glob; empty: all.
    """

    def __init__(self, store: Client, workflow: str = "") -> None:
        self._store = store
        self._told = Told()
        self._changes = Changes(store, self._told.see)
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
        store = self._store
        if self._is_first:
            self._look_for_what_was_before()
            self._is_first = False
        where = selection.job_conditions(workflow=self.workflow or None)
        counts = listing.states_of(store, where)
        sessions = asking.sessions(store)
        runs = self._runs() if counts.get(State.RUNNING.name) else []
        placed = _placed(store, runs, sessions.launchers)
        causes = self._causes(where) if counts.get(State.FAILED.name) else []
        workers = [_worker(one) for one in (*sessions.schedulers, *sessions.launchers)]
        return Picture(time.monotonic(), counts, placed, causes, _launches(store), workers)

    def _look_for_what_was_before(self) -> None:
        """Jobs that run, and those that failed last: the only questions that go through all jobs."""
        newest = (Key("create_time", descending=True),)
        found = selection.list_jobs(self._store, [_RUNNING_ONLY], limit=_MOST_ASKED, fields=("name",))
        ids = [str(job["job_id"]) for job in found]
        self._told.add_running(dict.fromkeys(ids) | (_starts(self._store, ids) if ids else {}))
        found = selection.list_jobs(self._store, [_FAILED_ONLY], limit=MOST_FAILED, fields=("name",), order=newest)
        self._told.add_failed(str(job["job_id"]) for job in found)

    def _runs(self) -> list[Run]:
        """The jobs that run, of the workflow; those that began first, where they are many."""
        starts = dict(itertools.islice(self._told.running().items(), _MOST_ASKED))
        if not starts:
            return []
        asked = [_RUNNING_ONLY, selection.test("job_id", "IN", *starts)]
        found = {str(job["job_id"]): job for job in selection.list_jobs(self._store, asked, fields=_RUN_FIELDS)}
        self._told.drop({one: start for one, start in starts.items() if one not in found})
        runs = (_run(found[one], start) for one, start in starts.items() if one in found)
        of_workflow = (run for run in runs if not self.workflow or matches(run.workflow, self.workflow))
        return list(itertools.islice(of_workflow, MOST_RUNS))

    def _causes(self, where: Sequence[Node]) -> list[Cause]:
        """Of the jobs that failed last, the causes."""
        ids = self._told.failed()
        if not ids:
            return []
        chosen = [*where, _FAILED_ONLY, selection.test("job_id", "IN", *ids)]
        groups = group(selection.list_jobs(self._store, chosen, fields=FIELDS))
        return [Cause(len(one.job_ids), _text_of(one), one.job_ids[-1]) for one in groups[:MOST_CAUSES]]


def _text_of(cause: Group) -> str:
    place = f"on {cause.where}:" if cause.where else ""
    return " ".join(filter(None, (cause.application, place, cause.cause, cause.said)))


def _run(job: Mapping[str, Any], start: datetime.datetime | None) -> Run:
    name, workflow, application = (str(job.get(field, "")) for field in ("name", "workflow", "application"))
    return Run(str(job["job_id"]), name or "job", workflow, application, start_time=start)


def _placed(store: Client, runs: Sequence[Run], launchers: Sequence[session_pb2.Session]) -> list[Run]:
    """The runs with their nodes, as far as launchers on this host say, and with the start that these saw."""
    if not runs:
        return []
    told: dict[str, launcher_service_pb2.Run] = {}
    for session in launchers[:_LAUNCHERS_ASKED]:
        told |= {run.job_id: run for run in _runs_of(store, session)}
    return [_told_of(run, told[run.job_id]) if run.job_id in told else run for run in runs]


def _told_of(run: Run, said: launcher_service_pb2.Run) -> Run:
    start = time_of(said.start_time) if said.HasField("start_time") else run.start_time
    return replace(run, node=shortened(said.nodes), start_time=start)


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
    return {move.job_id: move.time for move in store.events.moves(ids, [State.RUNNING.name])}


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
