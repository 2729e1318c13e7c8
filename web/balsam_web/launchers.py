"""The launchers at work, and how many of their nodes are in use. Blocks, and is called by one thread at a time."""

from __future__ import annotations

import os

from balsam.client import Client
from balsam.errors import BalsamError
from balsam.rpc import Connection
from balsam.v1 import session_pb2, session_service_pb2
from balsam.v1.launcher_service_pb2 import GetLauncherStatusRequest
from balsam.v1.launcher_service_pb2_grpc import LauncherServiceStub
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from balsam_web import records

_SECONDS = 1.0
"""How long a launcher may take to answer."""


class Launchers:
    """Asks the job store for them, and those on this host how busy they are.

    Those elsewhere cannot be asked: of them counts what they could still take on, by their own last word. Where jobs
    are short that is a little more than what is free, since launchers fetch some ahead.

    Args:
        client: the line to the site.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lines: dict[str, Connection] = {}

    def at_work(self) -> list[records.Record]:
        """All of them, oldest first.

        Raises:
            BalsamError: the job store does not say.
        """
        request = session_service_pb2.ListSessionsRequest()
        answer = self._client.call(SessionServiceStub, "ListSessions", request)
        found = [one for one in answer.sessions if one.kind == session_pb2.Session.LAUNCHER]
        self._forget({one.session_id for one in found})
        return [records.launcher(one, self._busy(one, answer)) for one in found]

    def _busy(self, session: session_pb2.Session, answer: session_service_pb2.ListSessionsResponse) -> float:
        share = self._utilization(session)
        if share is not None:
            return share * session.nodes
        credit = answer.credits.get(session.session_id)
        return records.busy(session.nodes, session.leases, None if credit is None else credit.nodes)

    def _utilization(self, session: session_pb2.Session) -> float | None:
        """Share of its nodes in use, 0 to 1, as it says itself; None: it cannot be asked."""
        if session.host != os.uname().nodename or not session.address:
            return None
        line = self._lines.get(session.session_id)
        if line is None:
            line = Connection(self._client.site, retry_seconds=0, address=session.address)
            self._lines[session.session_id] = line
        try:
            answer = line.call(LauncherServiceStub, "GetLauncherStatus", GetLauncherStatusRequest(), _SECONDS)
        except BalsamError:
            return None
        return float(answer.utilization)

    def _forget(self, there: set[str]) -> None:
        """Closes the lines to launchers that have gone."""
        for session_id in self._lines.keys() - there:
            self._lines.pop(session_id).close()

    def close(self) -> None:
        """Closes all lines."""
        self._forget(set())
