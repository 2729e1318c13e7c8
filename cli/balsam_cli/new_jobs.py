"""Adds jobs: completes their fields, sends them, and says when nobody will run them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from balsam.client import Client
from balsam.fields import LAUNCH_FIELDS, LAUNCH_OVER
from balsam.query import NotOf, Test
from balsam.v1 import session_pb2, session_service_pb2
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from balsam_cli.takers import Need, Taker, warning
from balsam_cli.terminal import note


def add(store: Client, jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Adds all of these jobs (values by field) or none. Returns their ids, in order.

    Raises:
        BalsamError: one was refused; the message says which and why.
    """
    complete = [{"job_id": str(uuid.uuid4()), **fields} for fields in jobs]
    store.jobs.create(complete)
    return [str(fields["job_id"]) for fields in complete]


def launchers(store: Client) -> list[session_pb2.Session]:
    """The launchers at work."""
    return _launchers_and_user(store)[0]


def _launchers_and_user(store: Client) -> tuple[list[session_pb2.Session], str]:
    answer = store.call(SessionServiceStub, "ListSessions", session_service_pb2.ListSessionsRequest())
    return [session for session in answer.sessions if session.kind == session_pb2.Session.LAUNCHER], answer.user


def warn_if_nobody_takes(store: Client, jobs: Sequence[Mapping[str, Any]]) -> None:
    """Says on stderr when nobody could ever run one of these jobs: at work, submitted, or to come by the policy."""
    at_work, user = _launchers_and_user(store)
    needs, takers = [_need(job, user) for job in jobs], [_taker(one) for one in at_work]
    # Who is at work is asked first: most often they can, and nobody else needs to be asked for.
    text = warning(needs, takers) and warning(needs, takers + _to_come(store, takers))
    if text:
        from balsam_cli.policy_note import with_policy

        text = with_policy(text, store.site, jobs)
    if text:
        note(f"note: {text}")


def _to_come(store: Client, takers: Sequence[Taker]) -> list[Taker]:
    """Launches that may still run something, but those whose launcher is at work."""
    at_work = {taker.launch for taker in takers}
    over = Test("state", (), "IN", tuple(sorted(LAUNCH_OVER)))
    found = (values for page in store.launches.pages(NotOf(over)) for values in page)
    return [_taker_to_come(values) for values in found if values["launch_id"] not in at_work]


def _taker_to_come(values: Mapping[str, Any]) -> Taker:
    launch = {name: values.get(name, field.default) for name, field in LAUNCH_FIELDS.items()}
    return Taker(
        launch["nodes"],
        launch["job_mode"],
        launch["wf_filter"],
        launch["launch_id"],
        bound_only=launch["prescheduled_only"],
        minutes=launch["wall_minutes"],
        label=f"launch {launch['launch_id']}",
        users=frozenset({launch["owner"]} - {""}),
    )


def _taker(session: session_pb2.Session) -> Taker:
    launch = session.launch if session.HasField("launch") else None
    users = frozenset({session.user, *session.trusted_users} - {""})
    return Taker(session.nodes, session.job_mode, session.workflow_filter, launch, users=users)


def _need(job: Mapping[str, Any], user: str) -> Need:
    nodes = int(job.get("num_nodes", 1))
    serial = nodes == 1 and job.get("ranks_per_node", 1) == 1
    return Need(
        str(job.get("workflow", "")),
        nodes,
        serial,
        job.get("queued_launch"),
        int(job.get("wall_time_minutes", 1)),
        user,
    )
