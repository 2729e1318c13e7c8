"""A launcher without processes: the test takes jobs and says what becomes of each run."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from balsam.site import Site
from balsam.states import State
from balsam.v1 import lease_pb2, session_pb2, session_service_pb2
from tests.support.rpc_client import Client

WorkRequest = session_service_pb2.WorkRequest
Response = session_service_pb2.WorkResponse
DEADLINE_SECONDS = 20.0


class Hands:
    """One session with a job store."""

    def __init__(self, site: Site) -> None:
        self._client = Client(site)
        self._requests: queue.SimpleQueue[WorkRequest | None] = queue.SimpleQueue()
        self._responses: queue.SimpleQueue[Response] = queue.SimpleQueue()
        self._grants: list[lease_pb2.Grant] = []
        self._seen = self._number = 0
        session = session_pb2.Session(kind=session_pb2.Session.LAUNCHER, host="here", pid=1, nodes=100, job_mode="auto")
        request = session_service_pb2.OpenSessionRequest(session=session, version="1", request_id=str(uuid.uuid4()))
        self._session_id = self._client.call("SessionService/OpenSession", request).session.session_id
        self._call: Any = self._client.stream("SessionService/Work", self._outgoing())
        self._reader = threading.Thread(target=self._read, name="hands", daemon=True)
        self._reader.start()
        self._requests.put(WorkRequest(attach=WorkRequest.Attach(session_id=self._session_id)))
        self._until(lambda response: response.attached)

    def close(self) -> None:
        """Ends the session: what it still runs is lost."""
        request = session_service_pb2.CloseSessionRequest(session_id=self._session_id)
        self._client.call("SessionService/CloseSession", request)
        self._requests.put(None)
        self._call.cancel()
        self._reader.join()
        self._client.close()

    def take(self) -> lease_pb2.Grant:
        """Takes the next job there is, and says that its run has begun."""
        credit = WorkRequest.Credit(nodes=100.0, jobs=1, largest=100, grants_seen=self._seen)
        self._requests.put(WorkRequest(credit=credit))
        self._until(lambda response: bool(response.grants))
        (grant,) = self._grants
        self._grants = []
        assert self.report(grant, State.RUNNING)
        return grant

    def report(self, grant: lease_pb2.Grant, *states: State, release: bool = False) -> bool:
        """Reports on a run; whether that was accepted."""
        self._number += 1
        report = lease_pb2.Report(lease=grant.lease, release=release, message="said so")
        for state in states:
            report.passages.add(state=state.value, time_us=0)
        self._requests.put(WorkRequest(reports=WorkRequest.Reports(number=self._number, reports=[report])))
        answer = self._until(lambda response: response.ack.number >= self._number)
        return grant.lease not in answer.ack.refused

    def _outgoing(self) -> Iterator[WorkRequest]:
        yield from iter(self._requests.get, None)

    def _read(self) -> None:
        try:
            for response in self._call:
                self._responses.put(response)
        except grpc.RpcError:
            pass  # closed

    def _until(self, arrived: Callable[[Response], bool]) -> Response:
        while True:
            response = self._responses.get(timeout=DEADLINE_SECONDS)
            self._grants += response.grants
            self._seen = max(self._seen, response.grants_sent)
            if arrived(response):
                return response
