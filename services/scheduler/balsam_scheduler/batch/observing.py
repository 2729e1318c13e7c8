"""What the automatic submitter asks the job store: work, launches, launchers, and whether anything has run."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from balsam.convert import time_of
from balsam.fields import LAUNCH_OVER, LAUNCH_STATES
from balsam.query import AllOf, AnyOf, Node, Test
from balsam.rpc import unpack_error
from balsam.states import State
from balsam.v1 import event_service_pb2, job_pb2, session_pb2, session_service_pb2
from balsam.v1.event_service_pb2_grpc import EventServiceStub
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from balsam_scheduler.batch.nodes import NodeKind
from balsam_scheduler.batch.policy import Policy
from balsam_scheduler.batch.scene import Launch, Launcher, Memory, Scene
from balsam_scheduler.batch.systems import in_vain
from balsam_scheduler.batch.work import NOTHING, RUNNABLE_SOON, group_fields, work_of

if TYPE_CHECKING:
    from balsam.client import Client

_KEPT_DAYS = 8
"""Launches that have ended count for so long: for the node-hours of a day, and for failures in a row."""

_ASKED = (*RUNNABLE_SOON, State.AWAITING_PARENTS, State.RUNNING)


def observe(client: Client, policy: Policy, memory: Memory, now: float, expected: Mapping[str, int] = NOTHING) -> Scene:
    """Asks the job store for all that a plan depends on.

    Args:
        client: the site.
        policy: says whether workflows matter, and how far back launches do.
        memory: of the last round.
        now: the time [s since 1970].
        expected: application -> minutes in which launchers expect its runs to end, whatever its jobs say.

    Raises:
        BalsamError: the job store is away, or refuses.
    """
    answer = client.call(SessionServiceStub, "ListSessions", session_service_pb2.ListSessionsRequest())
    at_work = [session for session in answer.sessions if session.kind == session_pb2.Session.LAUNCHER]
    launches = _launches(client, at_work, policy, now, answer.launch_nodes)
    launchers = tuple(_launcher(session, answer.credits) for session in at_work if not session.HasField("launch"))
    # After the launches: of one that has ended all is seen that it ran.
    memory, has_run = _news(client, memory)
    filters = (
        *(queue.wf_filter for queue in policy.queues),
        *(launch.wf_filter for launch in launches if launch.open),
        *(launcher.wf_filter for launcher in launchers),
    )
    fields = group_fields(workflows=any(filters), applications=bool(expected))
    groups = client.jobs.groups(Test("state", (), "IN", tuple(state.name for state in _ASKED)), fields)
    running = [group for group in groups if group[0][0] == State.RUNNING.name]
    waiting = [group for group in groups if group[0][0] != State.RUNNING.name]
    settings = client.site.settings
    return Scene(
        now=now,
        spare_minutes=spare_minutes(settings.stop_margin_seconds),
        work=work_of(waiting, fields, expected),
        running=work_of(running, fields, expected),
        launches=launches,
        launchers=launchers,
        has_run=has_run,
        memory=memory,
        cores_per_node=settings.cores_per_node,
        gpus_per_node=settings.gpus_per_node,
    )


def spare_minutes(stop_margin_seconds: float) -> int:
    """Minutes of a launch in which no job starts: the margin before its end, and one in which it comes up."""
    return math.ceil(stop_margin_seconds / 60) + 1


def _launches(
    client: Client,
    sessions: Sequence[session_pb2.Session],
    policy: Policy,
    now: float,
    nodes: Mapping[int, session_service_pb2.LaunchNodes],
) -> tuple[Launch, ...]:
    since = datetime.datetime.fromtimestamp(now, datetime.UTC) - datetime.timedelta(days=_KEPT_DAYS)
    is_open = Test("state", (), "IN", tuple(state for state in LAUNCH_STATES if state not in LAUNCH_OVER))
    recent = AnyOf((is_open, Test("create_time", (), "GTE", (since,))))
    where: Node = AllOf(()) if policy.node_hours_total else recent
    started = {session.launch: time_of(session.create_time).timestamp() for session in sessions if session.launch}
    held: Counter[int] = Counter()
    for session in sessions:
        held[session.launch] += session.leases
    found = (values for page in client.launches.pages(where) for values in page)
    # One that is in no batch system is a record that somebody made: nobody knows whether it ever runs.
    kinds = {launch_id: _kinds(one.node_kinds) for launch_id, one in nodes.items()}
    return tuple(launch_of(values, started, held, kinds) for values in found if values.get("batch_system"))


def _kinds(messages: Iterable[session_service_pb2.WorkRequest.NodeKind]) -> tuple[NodeKind, ...]:
    return tuple(NodeKind(kind.count, kind.cores, kind.gpus) for kind in messages)


def launch_of(
    values: dict[str, Any],
    started: Mapping[int, float],
    held: Mapping[int, int] | None = None,
    kinds: Mapping[int, tuple[NodeKind, ...]] | None = None,
) -> Launch:
    """A launch from the values of its fields; those that are absent have their defaults.

    Args:
        values: as the client gives them.
        started: launch -> when its launcher came up [s since 1970].
        held: launch -> jobs that its launchers have; None: nobody knows.
        kinds: launch -> what its launcher found.
    """
    launch_id = int(values["launch_id"])
    state, message = values.get("state", LAUNCH_STATES[0]), values.get("message", "")
    return Launch(
        launch_id=launch_id,
        queue=values.get("queue", ""),
        nodes=values.get("nodes", 1),
        wall_minutes=values.get("wall_minutes", 60),
        state=state,
        create_time=values["create_time"].timestamp(),
        job_mode=values.get("job_mode", "auto"),
        wf_filter=values.get("wf_filter", ""),
        prescheduled_only=values.get("prescheduled_only", False),
        from_balsam=values.get("from_balsam", True),
        message=message,
        accepted=bool(values.get("scheduler_id")) or values.get("state") not in ("SUBMIT_FAILED", "CANCELLED"),
        start_time=started.get(launch_id),
        holds=None if held is None else held.get(launch_id, 0),
        sched_flags=values.get("sched_flags", ""),
        kinds=(kinds or {}).get(launch_id, ()),
        in_vain=in_vain(values.get("batch_system", ""), message) if state == "QUEUED" else None,
    )


def _launcher(session: session_pb2.Session, credits: Mapping[str, session_service_pb2.WorkRequest.Credit]) -> Launcher:
    credit = credits.get(session.session_id)
    return Launcher(
        session_id=session.session_id,
        label=f"{session.host}:{session.pid}",
        nodes=session.nodes,
        job_mode=session.job_mode,
        wf_filter=session.workflow_filter,
        holds=session.leases,
        kinds=_kinds(credit.node_kinds) if credit is not None else (),
    )


def _news(client: Client, memory: Memory) -> tuple[Memory, bool | None]:
    """The memory with the events of now, and whether a run has begun since those that it knew (None: it knew none)."""
    after = replace(memory, sequence=_newest_sequence(client))
    if not memory.sequence:
        return after, None
    began = event_service_pb2.EventFilter(states=[job_pb2.Job.State.RUNNING])
    request = event_service_pb2.ListEventsRequest(filter=began, after_sequence=memory.sequence, page_size=1)
    return after, bool(client.call(EventServiceStub, "ListEvents", request).events)


def _newest_sequence(client: Client) -> int:
    import grpc

    stream = client.events.watch((), ())
    try:
        return int(next(iter(stream)).sequence)
    except grpc.RpcError as error:
        raise unpack_error(error) from None
    finally:
        stream.cancel()
