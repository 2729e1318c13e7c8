"""Collects what the reason depends on: a few calls to the job store, and what this host knows of the site."""

from __future__ import annotations

import datetime
import os
import socket
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from balsam import locks
from balsam.client import Client
from balsam.endpoints import as_seen_here
from balsam.errors import BalsamError, SiteError
from balsam.fields import JOB_FIELDS
from balsam.query import AllOf, AnyOf, Key, Node, NotOf, Test
from balsam.site import Site
from balsam.states import RUNNABLE, TRANSITIONABLE, State
from balsam.v1 import session_pb2
from balsam_cli import process, selection
from balsam_cli.takers import NodeKind, Taker, hindrance, need_of
from balsam_cli.why import asking
from balsam_cli.why.scene import Launch, Launcher, Moment, Place, Policy, Relative, Scene, Scheduler

_PARENTS = 100  # more of those that have not finished are not looked at
_STEPS = tuple(TRANSITIONABLE - {State.CREATED, State.AWAITING_PARENTS})
_ORDER = ("priority", "num_nodes", "wall_time_minutes")
"""In this order, each descending, launchers take jobs; then by age."""
_COUNTED = 10_000  # of more jobs it is not looked up which are older
_SECONDS = 5.0  # a launcher or scheduler that says nothing for so long is not waited for


def collect(store: Client, job_id: str) -> Scene:
    """What there is to know about a job.

    Raises:
        NotFound: there is no such job.
        BalsamError: the job store is away.
    """
    defaults = {name: field.default for name, field in JOB_FIELDS.items()}
    job = {**defaults, **store.jobs.get(job_id)}
    sessions = asking.sessions(store, job_id)
    scene = Scene(
        job,
        need_of(job),
        datetime.datetime.now(datetime.UTC),
        history=_history(store, job_id),
        parents=_unfinished_parents(store, job),
        scheduler=_scheduler(store.site, sessions),
        me=asking.me(store),
        scheduler_serves=not sessions.schedulers or job["owner"] in asking.users_of(sessions.schedulers[-1]),
        step_workers=sum(job["owner"] in asking.users_of(one) for one in sessions.step_workers),
    )
    holder = sessions.holder
    if holder is not None and holder.kind != session_pb2.Session.LAUNCHER:
        pid = _script_of(job_id)
        return replace(scene, in_step=True, script_pid=pid, steps_ahead=_steps_ahead(store, job))
    if holder is not None:
        return replace(scene, holder=_launcher(store.site, scene.me, holder, sessions, job_id))
    if scene.state in RUNNABLE:
        return _with_launchers(store, scene, sessions)
    return replace(scene, steps_ahead=_steps_ahead(store, job)) if scene.state in _STEPS else scene


def _history(store: Client, job_id: str) -> tuple[Moment, ...]:
    from balsam_cli.listing import history_of
    from balsam_cli.text import parse_time

    moments = []
    for record in history_of(store, [job_id])[job_id]:
        when = parse_time(record["time"])
        if record["state"] and when:
            moments.append(Moment(State[record["state"]], when, record["message"], record["exit_code"]))
    return tuple(moments)


def _unfinished_parents(store: Client, job: Mapping[str, Any]) -> tuple[Relative, ...]:
    if not job["parents"]:
        return ()
    finished = Test("state", (), "EXACT", (State.JOB_FINISHED.name,))
    where = [selection.test("children", "EXACT", job["job_id"]), NotOf(finished)]
    found = selection.list_jobs(store, where, limit=_PARENTS, fields=("name", "state"))
    return tuple(Relative(one["job_id"], one.get("name", ""), State[one["state"]]) for one in found)


def _scheduler(site: Site, sessions: asking.Sessions) -> Scheduler | None:
    if not sessions.schedulers:
        return None
    from balsam.rpc import Connection
    from balsam.v1.scheduler_service_pb2 import GetSchedulerStatusRequest
    from balsam.v1.scheduler_service_pb2_grpc import SchedulerServiceStub

    connection = Connection(site, "scheduler", retry_seconds=0)
    try:
        request = GetSchedulerStatusRequest()
        answer = connection.call(SchedulerServiceStub, "GetSchedulerStatus", request, timeout=_SECONDS)
    except BalsamError:
        # Whoever does not answer has a session until its lease ends.
        return Scheduler() if _may_be_there(sessions.schedulers[-1], "balsam_scheduler") else None
    finally:
        connection.close()
    return Scheduler(answer.running, answer.workers)


def _may_be_there(session: session_pb2.Session, module: str) -> bool:
    """Whether the process of a session is there, as far as can be told from this host."""
    if session.host != socket.gethostname():
        return True
    return process.is_running(session.pid, module)


def _script_of(job_id: str) -> int:
    """The process of a job's script on this host; 0: there is none."""
    from balsam.processes import mark_of, process_table

    for pid in process_table().by_pid:
        mark = mark_of(pid)
        if mark is not None and mark[0] == job_id:
            return pid
    return 0


def _steps_ahead(store: Client, job: Mapping[str, Any]) -> int:
    """Jobs that came before this one and wait for staging or a script, too; not those that came in the same call."""
    where = (
        Test("state", (), "IN", tuple(state.name for state in _STEPS)),
        Test("create_time", (), "LT", (job["create_time"],)),
    )
    return store.jobs.count(AllOf(where))


# Launchers and launches


def _launcher(
    site: Site, me: str, session: session_pb2.Session, sessions: asking.Sessions, job_id: str = ""
) -> Launcher:
    """A launcher at work, with what it said last; with a job, also where it runs that."""
    credit = sessions.credits.get(session.session_id)
    launcher = Launcher(
        f"launcher {session.host}:{session.pid}",
        asking.taker_at_work(session, credit),
        is_alive=_may_be_there(session, "balsam_launcher"),
    )
    if credit is not None:
        launcher = replace(
            launcher,
            free_nodes=credit.nodes,
            free_jobs=credit.jobs,
            closing=credit.closing,
            closed_nodes=credit.closed_nodes,
            largest=credit.largest if credit.largest else None,
        )
    return _asked_itself(site, me, session, launcher, job_id) if job_id or launcher.closed_nodes else launcher


def _asked_itself(site: Site, me: str, session: session_pb2.Session, launcher: Launcher, job_id: str) -> Launcher:
    """With what a launcher on this host says of itself."""
    from balsam.rpc import Connection
    from balsam.v1.launcher_service_pb2 import GetLauncherStatusRequest
    from balsam.v1.launcher_service_pb2_grpc import LauncherServiceStub

    # Our token goes there: what the session says of its address may be anybody's word.
    is_own = session.host == socket.gethostname() and session.user == me
    if not is_own or session.address != as_seen_here(site).address(f"launcher-{session.pid}"):
        return launcher
    connection = Connection(site, retry_seconds=0, address=session.address)
    try:
        request = GetLauncherStatusRequest()
        answer = connection.call(LauncherServiceStub, "GetLauncherStatus", request, timeout=_SECONDS)
    except BalsamError:
        return launcher
    finally:
        connection.close()
    nodes = next((tuple(run.nodes) for run in answer.runs if run.job_id == job_id), ())
    return replace(launcher, runs_on=nodes, set_aside={node.name: node.reason for node in answer.set_aside})


def _with_launchers(store: Client, scene: Scene, sessions: asking.Sessions) -> Scene:
    """A job that a launcher could start: who is at work and to come, and which jobs are before it."""
    if any(asking.open_launches(store)):
        from balsam_cli.launches import bring_up_to_date

        bring_up_to_date(store)
    node = asking.node_of_settings(store.site)
    at_work = {one.launch for one in sessions.launchers if one.HasField("launch")}
    expected = asking.expected_minutes(store)
    scene = replace(scene, need=replace(scene.need, expected=expected.get(scene.need.application)))
    launches = [_launch(store.site, values, node, at_work) for values in asking.open_launches(store)]
    bound_only = frozenset(one.launch_id for one in launches if one.taker.bound_only)
    launchers = []
    for session in sessions.launchers:
        one = _launcher(store.site, scene.me, session, sessions)
        launchers.append(replace(one, taker=replace(one.taker, bound_only=one.taker.launch in bound_only)))
    bound_to = next((one for one in launches if one.launch_id == scene.need.launch), None)
    scene = replace(scene, launchers=tuple(launchers), launches=tuple(launches), bound_to=bound_to)
    able = [one.taker for one in launchers if hindrance(scene.need, one.taker) is None]
    if able:
        scene = _ahead(store, scene, able)
    return replace(scene, policy=_policy(store, scene, expected), place=place(store.site, scene.me))


def _launch(site: Site, values: Mapping[str, Any], node: NodeKind | None, at_work: set[int]) -> Launch:
    system, name = values["batch_system"], values["scheduler_id"]
    return Launch(
        values["launch_id"],
        asking.taker_to_come(values, node, asking.users_of_launcher(site, values["owner"])),
        f"{system} job {name}" if system and name else system,
        values["state"],
        values["message"].partition("\n")[0],
        values["launch_id"] in at_work,
        asking.waits_in_vain(values),
    )


def _ahead(store: Client, scene: Scene, able: list[Taker]) -> Scene:
    """With how many jobs the launchers that could run this one start before it, and the first of them.

    Of jobs that were added at the same moment, in one call, nobody tells here which come first; of very many alike, it
    would take too long.
    """
    job = scene.job
    pool: list[Node] = [
        Test("state", (), "IN", tuple(state.name for state in RUNNABLE)),
        Test("leased", (), "EXACT", (False,)),
    ]
    if filters := _any_of_filters(able):
        pool.append(filters)
    bound = [taker.launch for taker in able if taker.launch is not None]
    unbound = Test("queued_launch", (), "ISNULL", (True,))
    pool.append(AnyOf((unbound, Test("queued_launch", (), "IN", tuple(bound)))) if bound else unbound)
    alike = AllOf(tuple(Test(name, (), "EXACT", (job[name],)) for name in _ORDER))
    before = [*pool, AnyOf((_larger(job), alike))]
    order = [Key(name, descending=True) for name in _ORDER]
    first = next(selection.list_jobs(store, before, limit=1, fields=("name", *_ORDER), order=order), None)
    if first is None or first["job_id"] == job["job_id"]:
        return scene
    most = selection.count_jobs(store, before) - 1
    if most > _COUNTED:
        return replace(scene, ahead=most, ahead_at_most=True, first_ahead=first)
    older, same = (Test("create_time", (), op, (job["create_time"],)) for op in ("LT", "EXACT"))
    ahead = selection.count_jobs(store, [*pool, AnyOf((_larger(job), AllOf((alike, older))))])
    mates = selection.count_jobs(store, [*pool, alike, same]) - 1
    return replace(scene, ahead=max(1, ahead + max(0, mates)), ahead_at_most=mates > 0, first_ahead=first)


def _larger(job: Mapping[str, Any]) -> Node:
    """The condition that a job comes before this one in the order in which launchers take them, whatever their age."""
    alternatives: list[Node] = []
    equal: list[Node] = []
    for name in _ORDER:
        alternatives.append(AllOf((*equal, Test(name, (), "GT", (job[name],)))))
        equal.append(Test(name, (), "EXACT", (job[name],)))
    return AnyOf(tuple(alternatives))


def _any_of_filters(able: list[Taker]) -> Node | None:
    filters = [taker.workflow_filter for taker in able]
    return AnyOf(tuple(selection.exact_or_glob("workflow", one) for one in filters)) if all(filters) else None


# What could be started


def _policy(store: Client, scene: Scene, expected: Mapping[str, int]) -> Policy | None:
    """What the automatic submitter may do for the job; None: no policy names a queue."""
    from balsam_cli.policy_note import SERVICE_LOCK, queues_of, why_never

    try:
        policy = queues_of(store.site)
        if policy is None:
            return None
        never = why_never(policy, store.site, scene.job, expected)
        at_work = locks.holder(store.site.run / SERVICE_LOCK) is not None
        verdict = _verdict_of_round(store, scene, expected) if at_work and not never else ""
    except SiteError as error:
        return Policy(trouble=str(error))
    return Policy(never, at_work, verdict)


def _verdict_of_round(store: Client, scene: Scene, expected: Mapping[str, int]) -> str:
    """Why the automatic submitter submits nothing for such jobs now; empty: it does."""
    from balsam_scheduler.batch import rounds
    from balsam_scheduler.batch.work import shape_of

    shape, workflow = shape_of(scene.job, expected), scene.need.workflow
    for found in rounds.dry_round(store, time.time(), expected).verdicts:
        work = found.work
        if work.shape == shape and work.workflow in ("", workflow) and not work.waits and work.launch is None:
            return found.why
    return ""


def place(site: Site, me: str) -> Place:
    """What a launcher here, or one that is submitted, would have."""
    from balsam_launcher.nodes import Wanted, find_nodes
    from balsam_scheduler.batch import systems
    from balsam_scheduler.batch.observing import spare_minutes

    settings, users = site.settings, asking.users_of_launcher(site, me)
    wanted = Wanted(settings.cores_per_node, settings.gpus_per_node or None)
    try:
        nodes = find_nodes(os.environ, wanted, node_file=settings.node_file)
    except BalsamError:
        nodes = []
    kinds = Counter((node.cores, len(node.gpus)) for node in nodes)
    here = Taker(
        len(nodes),
        "auto",
        "",
        label="a launcher here",
        kinds=tuple(NodeKind(count, cores, gpus) for (cores, gpus), count in kinds.items()),
        users=users,
    )
    system = systems.choose(settings.batch_system).name
    return Place(
        here if nodes else None,
        "" if system == "local" else system,
        asking.node_of_settings(site),
        users,
        spare_minutes(settings.stop_margin_seconds),
    )
