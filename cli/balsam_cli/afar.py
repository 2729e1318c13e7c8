"""A site that is reached over TLS: on another host, or of somebody else. What its job store says of its services."""

from __future__ import annotations

import datetime
from typing import Any

from balsam.client import Client
from balsam.errors import Unavailable
from balsam.rpc import ask_site
from balsam.site import Site
from balsam.v1 import session_pb2, session_service_pb2
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from balsam_cli import services
from balsam_cli.services import Status


def statuses(site: Site) -> list[Status]:
    """Job store and scheduler: ``up``, or ``down`` where they are not there or out of reach.

    Raises:
        BalsamError: the site does not let us in.
    """
    try:
        said = ask_site(site, retry_seconds=0)
    except Unavailable:
        return [Status(services.JOBSTORE, "down")]
    store = Status(services.JOBSTORE, "up", said.pid, said.host, said.version)
    return [store, _scheduler(site)]


def _scheduler(site: Site) -> Status:
    client = Client(site, retry_seconds=0)
    try:
        answer = client.call(SessionServiceStub, "ListSessions", session_service_pb2.ListSessionsRequest())
    finally:
        client.close()
    for session in answer.sessions:
        if session.kind == session_pb2.Session.SCHEDULER:
            since = session.create_time.ToDatetime(datetime.UTC)
            return Status(services.SCHEDULER, "up", session.pid, session.host, start_time=since)
    return Status(services.SCHEDULER, "down")


def described(site: Site) -> dict[str, Any]:
    """State of a site (``up`` or ``out of reach``), and what its job store says, if it does."""
    try:
        said = ask_site(site, retry_seconds=0)
    except Unavailable:
        return {"state": "out of reach"}
    names = ("version", "pid", "database", "schema_revision", "jobs", "user")
    return {"state": "up", **{name: getattr(said, name) for name in names}}
