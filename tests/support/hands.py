"""Sessions without processes: the test takes jobs and says what becomes of each, as a launcher; or has rules in force,
as a scheduler."""

from __future__ import annotations

import contextlib
import queue
import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from balsam.site import Site
from balsam.states import State
from balsam.v1 import lease_pb2, output_service_pb2, session_pb2, session_service_pb2
from balsam_scheduler.rules import RULES
from tests.support.rpc_client import Client, refusal

WorkRequest = session_service_pb2.WorkRequest
SendOutputRequest = output_service_pb2.SendOutputRequest
Response = session_service_pb2.WorkResponse
DEADLINE_SECONDS = 60.0
LAUNCHER, SCHEDULER = session_pb2.Session.LAUNCHER, session_pb2.Session.SCHEDULER


class Hands:
    """One session with a job store, as a launcher without processes."""

    def __init__(
        self,
        site: Site,
        *,
        launch: int | None = None,
        nodes: int = 100,
        token: str | None = None,
        trusted_users: Iterable[str] = (),
        sends_output: bool = False,
    ) -> None:
        """`token`: of the user whose launcher it is; None: the owner's."""
        self._site = site
        self._sends_output = sends_output
        self._token = token
        self._client = Client(site, token, patient=True)
        session = session_pb2.Session(
            kind=LAUNCHER,
            host="here",
            pid=1,
            nodes=nodes,
            job_mode="auto",
            launch=launch,
            trusted_users=trusted_users,
        )
        self.session_id = _open(self._client, session)
        self._attach([])

    def close(self) -> None:
        """Ends the session: what it still runs is lost."""
        request = session_service_pb2.CloseSessionRequest(session_id=self.session_id)
        self._client.call("SessionService/CloseSession", request)
        self._hang_up()

    def attach_again(self, held: Iterable[lease_pb2.Grant]) -> None:
        """After a restart of the job store: a new line for the same session, which still holds these."""
        self._hang_up()
        self._client = Client(self._site, self._token, patient=True)
        self._attach([grant.lease for grant in held])

    def _attach(self, held: list[lease_pb2.Lease]) -> None:
        self._requests: queue.SimpleQueue[WorkRequest | None] = queue.SimpleQueue()
        self._responses: queue.SimpleQueue[Response | None] = queue.SimpleQueue()
        self._grants: list[lease_pb2.Grant] = []
        self._seen = self._number = 0
        self._call: Any = self._client.stream("SessionService/Work", iter(self._requests.get, None))
        self._reader = threading.Thread(
            target=self._read, args=(self._call, self._responses), name="hands", daemon=True
        )
        self._reader.start()
        attach = WorkRequest.Attach(session_id=self.session_id, held=held, sends_output=self._sends_output)
        self._requests.put(WorkRequest(attach=attach))
        self._until(lambda response: response.attached)

    def _hang_up(self) -> None:
        self._requests.put(None)
        self._call.cancel()
        self._reader.join()
        self._client.close()

    def take(self) -> lease_pb2.Grant:
        """Takes the next job there is."""
        credit = WorkRequest.Credit(nodes=100.0, jobs=1, largest=100, grants_seen=self._seen)
        self._requests.put(WorkRequest(credit=credit))
        self._until(lambda response: bool(response.grants))
        (grant,) = self._grants
        self._grants = []
        return grant

    def say(self, **credit: Any) -> None:
        """Says what it could take on; nothing is waited for."""
        self._requests.put(WorkRequest(credit=WorkRequest.Credit(grants_seen=self._seen, **credit)))

    def report(self, grant: lease_pb2.Grant, *states: State, release: bool = False) -> bool:
        """Reports on a run; whether that was accepted."""
        self._number += 1
        self.send(grant, *states, release=release)
        answer = self._until(lambda response: response.ack.number >= self._number)
        return grant.lease not in answer.ack.refused

    def send(self, grant: lease_pb2.Grant, *states: State, release: bool = False) -> None:
        """Reports on a run and does not wait for the answer."""
        report = _report(grant, states, release)
        self._requests.put(WorkRequest(reports=WorkRequest.Reports(number=self._number, reports=[report])))

    def report_late(self, session_id: str, grant: lease_pb2.Grant, *states: State) -> bool:
        """Reports a whole run under a session that may have ended; whether that was accepted."""
        report = _report(grant, states, release=True)
        request = session_service_pb2.RecoverReportsRequest(session_id=session_id, reports=[report])
        return not self._client.call("SessionService/RecoverReports", request).refused

    def wanted(self) -> Response.OutputWanted:
        """Waits for somebody to want an output."""
        (wanted,) = self._until(lambda response: bool(response.outputs)).outputs
        return wanted

    def send_output(self, wanted: Response.OutputWanted, *messages: SendOutputRequest) -> None:
        """Sends an output; raises Refusal."""
        first = SendOutputRequest(session_id=self.session_id, read_id=wanted.read_id)
        try:
            list(self._client.open("OutputService/SendOutput", first, *messages))
        except grpc.RpcError as error:
            raise refusal(error) from None

    def _read(self, call: Any, responses: queue.SimpleQueue[Response | None]) -> None:
        with contextlib.suppress(grpc.RpcError):
            for response in call:
                responses.put(response)
        responses.put(None)

    def _until(self, arrived: Callable[[Response], bool]) -> Response:
        while True:
            response = self._responses.get(timeout=DEADLINE_SECONDS)
            assert response is not None, "the line has ended"
            self._grants += response.grants
            self._seen = max(self._seen, response.grants_sent)
            if arrived(response):
                return response


class Rules:
    """A scheduler's session, with its rules in force: jobs that need neither scripts nor staging move by themselves."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._client = Client(site, patient=True)
        self._session_id = _open(self._client, session_pb2.Session(kind=SCHEDULER, host="here", pid=2))
        self._register()

    def register_again(self) -> None:
        """After a restart of the job store, which forgets rules."""
        self._client.close()
        self._client = Client(self._site, patient=True)
        self._register()

    def close(self) -> None:
        """Ends the session."""
        self._client.call(
            "SessionService/CloseSession", session_service_pb2.CloseSessionRequest(session_id=self._session_id)
        )
        self._client.close()

    def _register(self) -> None:
        request = session_service_pb2.RegisterRulesRequest(session_id=self._session_id, rules=RULES)
        self._client.call("SessionService/RegisterRules", request)


def _open(client: Client, session: session_pb2.Session) -> str:
    request = session_service_pb2.OpenSessionRequest(session=session, version="1", request_id=str(uuid.uuid4()))
    return str(client.call("SessionService/OpenSession", request).session.session_id)


def _report(grant: lease_pb2.Grant, states: Iterable[State], release: bool) -> lease_pb2.Report:
    report = lease_pb2.Report(lease=grant.lease, release=release, message="said so")
    for state in states:
        report.passages.add(state=state.value, time_us=0)
    return report
