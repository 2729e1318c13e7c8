"""Asks the job store who is at work and who is to come: one call each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from balsam import stores
from balsam.client import Client
from balsam.errors import BalsamError, SiteError
from balsam.fields import LAUNCH_FIELDS, LAUNCH_OVER, MAX_INT
from balsam.query import AllOf, Node, NotOf, Test
from balsam.rpc import Connection
from balsam.site import ENV_JOB_TOKEN, ENV_TOKEN_FILE, SETTINGS_FILE, Site, owner_name
from balsam.v1 import session_pb2, session_service_pb2
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from balsam_cli.takers import NodeKind, Taker

_SECONDS = 5.0

Credit = session_service_pb2.WorkRequest.Credit


@dataclass(frozen=True)
class Sessions:
    """Who is at work."""

    launchers: list[session_pb2.Session] = field(default_factory=list)
    schedulers: list[session_pb2.Session] = field(default_factory=list)
    step_workers: list[session_pb2.Session] = field(default_factory=list)
    """What launchers have beside themselves for scripts and staging, where the scheduler does not do these."""
    credits: Mapping[str, Credit] = field(default_factory=dict)
    """Session id -> what it could take on; of some it is not known."""
    holder: session_pb2.Session | None = None
    """Who holds the job that was asked for."""


def sessions(store: Client, job_id: str = "") -> Sessions:
    """The launchers and schedulers at work, and which of them holds a job."""
    request = session_service_pb2.ListSessionsRequest(job_id=job_id)
    answer = store.call(SessionServiceStub, "ListSessions", request)
    return Sessions(
        [one for one in answer.sessions if one.kind == session_pb2.Session.LAUNCHER],
        [one for one in answer.sessions if one.kind == session_pb2.Session.SCHEDULER],
        [one for one in answer.sessions if one.kind == session_pb2.Session.STEP_WORKER],
        _credits(store.site, answer),
        next((one for one in answer.sessions if one.session_id == answer.holder), None),
    )


def users_of(session: session_pb2.Session) -> frozenset[str]:
    """The users whose jobs a session takes."""
    return frozenset((session.user, *session.trusted_users))


def users_of_launcher(site: Site, user: str) -> frozenset[str]:
    """The users whose jobs a launcher takes that a user starts, without more; none: nobody knows."""
    settings = site.path / SETTINGS_FILE
    try:
        is_owners = site.is_own and owner_name(settings) == user
        return frozenset((user, *(site.settings.trusted_owners.split() if is_owners else ()))) - {""}
    except (OSError, SiteError):
        return frozenset()


def me(store: Client) -> str:
    """The name of who asks, as the site has it."""
    site = store.site
    if site.is_own and not (os.environ.get(ENV_TOKEN_FILE) or os.environ.get(ENV_JOB_TOKEN)):
        return owner_name(site.path / SETTINGS_FILE)
    from balsam.v1.site_service_pb2 import GetSiteRequest
    from balsam.v1.site_service_pb2_grpc import SiteServiceStub

    return str(store.call(SiteServiceStub, "GetSite", GetSiteRequest()).user)


def _credits(site: Site, answer: session_service_pb2.ListSessionsResponse) -> Mapping[str, Credit]:
    """What sessions could take on: of several job stores each knows that of its own."""
    names = stores.known(site) if len(answer.credits) < len(answer.sessions) else []
    found = dict(answer.credits)
    for name in names if len(names) > 1 else ():
        connection = Connection(site, name, retry_seconds=0, address=site.address(name))
        try:
            request = session_service_pb2.ListSessionsRequest()
            found.update(connection.call(SessionServiceStub, "ListSessions", request, timeout=_SECONDS).credits)
        except BalsamError:
            continue  # it does not run: its sessions are on their way to another one
        finally:
            connection.close()
    return found


def expected_minutes(store: Client) -> Mapping[str, int]:
    """How long launchers that are to come will expect runs to take [minutes], by application; none where they go by
    what jobs say, or nobody knows."""
    try:
        if not store.site.settings.fit_by_history:
            return {}
    except SiteError:
        return {}  # who may not read the settings
    from balsam.run_times import expected_minutes

    return expected_minutes(store)


def takers_at_work(store: Client) -> list[Taker]:
    """What the launchers at work can run."""
    at_work = sessions(store)
    ids = [one.launch for one in at_work.launchers if one.HasField("launch")]
    bound_only = _bound_only(store, ids) if ids else frozenset()
    return [taker_at_work(one, at_work.credits.get(one.session_id), bound_only) for one in at_work.launchers]


def _bound_only(store: Client, ids: Sequence[int]) -> frozenset[int]:
    """Of these launches those that take bound jobs only."""
    found = _launches(store, Test("launch_id", (), "IN", tuple(ids)))
    return frozenset(values["launch_id"] for values in found if values.get("prescheduled_only"))


def taker_at_work(
    session: session_pb2.Session, credit: Credit | None, bound_only: frozenset[int] = frozenset()
) -> Taker:
    """What a launcher at work can run.

    Args:
        session: its session.
        credit: what it said last; None: nobody knows.
        bound_only: launches that take bound jobs only.
    """
    launch = session.launch if session.HasField("launch") else None
    minutes = int(credit.minutes) if credit is not None and credit.HasField("minutes") else None
    return Taker(
        session.nodes,
        session.job_mode,
        session.workflow_filter,
        launch,
        bound_only=launch in bound_only,
        minutes=minutes,
        kinds=()
        if credit is None
        else tuple(NodeKind(kind.count, kind.cores, kind.gpus) for kind in credit.node_kinds),
        users=users_of(session),
        quick=frozenset(credit.quick_applications) if credit is not None else frozenset(),
    )


def takers_to_come(store: Client, at_work: Sequence[Taker], site: NodeKind | None) -> list[Taker]:
    """Launches that may still run something, but those whose launcher is at work."""
    running = {taker.launch for taker in at_work}
    to_come = [values for values in open_launches(store) if values["launch_id"] not in running]
    return [
        taker_to_come(values, site, users_of_launcher(store.site, values["owner"]))
        for values in to_come
        if not waits_in_vain(values)
    ]


def waits_in_vain(launch: Mapping[str, Any]) -> bool:
    """Whether a launch, by its fields, waits for what does not come by itself."""
    if launch["state"] != "QUEUED" or not launch["message"]:
        return False
    from balsam_scheduler.batch.systems import in_vain

    return in_vain(launch["batch_system"], launch["message"]) is not None


def open_launches(store: Client) -> Iterator[dict[str, Any]]:
    """The launches that are not over, with all their fields."""
    return _launches(store, NotOf(Test("state", (), "IN", tuple(sorted(LAUNCH_OVER)))))


def _launches(store: Client, where: Node) -> Iterator[dict[str, Any]]:
    defaults = {name: field.default for name, field in LAUNCH_FIELDS.items()}
    return ({**defaults, **values} for page in store.launches.pages(AllOf((where,))) for values in page)


def taker_to_come(launch: Mapping[str, Any], site: NodeKind | None, users: frozenset[str] = frozenset()) -> Taker:
    """What the launcher of a launch will be able to run, by all of its fields.

    Args:
        launch: the fields.
        site: what a node of the site has; None: nobody knows.
        users: the users whose jobs it will take; none: nobody knows.
    """
    return Taker(
        launch["nodes"],
        launch["job_mode"],
        launch["wf_filter"],
        launch["launch_id"],
        bound_only=launch["prescheduled_only"],
        minutes=launch["wall_minutes"],
        label=f"launch {launch['launch_id']}",
        kinds=(NodeKind(launch["nodes"], site.cores, site.gpus),) if site else (),
        users=users,
    )


def node_of_settings(site: Site) -> NodeKind | None:
    """What each node has, by the settings of a site; None: they say nothing of it, or cannot be read."""
    try:
        cores, gpus = site.settings.cores_per_node, site.settings.gpus_per_node
    except SiteError:
        return None
    return NodeKind(1, cores or MAX_INT, gpus or MAX_INT) if cores or gpus else None
