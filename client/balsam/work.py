"""The line between the job store and those who work on jobs: a session that is renewed, and the stream of its work.

A `Worker` survives restarts of the job store: it attaches again with what it holds, sends again what was not
acknowledged, and opens a new session when the old one has ended. All of it runs in one asyncio loop, except that the
session is renewed from a thread with a channel of its own, which no amount of data can starve.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import random
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import grpc
import grpc.aio

from balsam import failpoints, rpc, stores
from balsam.errors import BalsamError, NotFound, ResourceExhausted, Unavailable
from balsam.ledger import Ledger, holds_result
from balsam.outbox import Outbox
from balsam.renewal import Renewal, margin_of
from balsam.report_batches import that_fit
from balsam.site import Site
from balsam.v1 import lease_pb2, session_pb2, session_service_pb2
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from balsam.version import VERSION

log = logging.getLogger("balsam.work")

Response = session_service_pb2.WorkResponse
Credit = session_service_pb2.WorkRequest.Credit

GATHER_SECONDS = 0.05
"""Reports that nobody waits for are gathered so long before they are sent."""
_RECONNECT_SECONDS = (0.05, 1.0)
_FINAL = frozenset({rpc.UNAUTHENTICATED, "PERMISSION_DENIED"})
"""Reasons of refusals that no waiting mends."""
_workers = itertools.count()


class Worker:
    """One session with the job store and the stream of its work.

    Args:
        site: the site.
        session: kind, host, pid, nodes, job mode and filter of the worker.
        states: for schedulers, the states whose jobs are asked for.
        on_response: called with every message of the stream, in order, in the loop.
        on_lost: called when the session has ended without our doing: whatever was leased is not ours any more.
        on_session: called with each new session's id, before any work of it comes.
        on_renewed: called in the loop when `trusted_until` has moved.
        on_refused: called when the job store will not have us any more, with the reason: nothing comes after that.
        ledger: takes results before they are reported, if they must outlive this process.
    """

    def __init__(
        self,
        site: Site,
        session: session_pb2.Session,
        *,
        on_response: Callable[[Response], None],
        on_lost: Callable[[], None],
        on_session: Callable[[str], None] = lambda session_id: None,
        on_renewed: Callable[[], None] = lambda: None,
        on_refused: Callable[[BalsamError], None] = lambda problem: None,
        states: Iterable[int] = (),
        ledger: Ledger | None = None,
    ) -> None:
        self.site = site
        self.session_id = ""
        self.lease_seconds = 0.0
        self.attached = asyncio.Event()
        self._store = stores.FIRST
        """The job store that has the session."""
        self._turn = next(_workers)
        self._session = session
        self._states = list(states)
        self._on_response = on_response
        self._on_lost = on_lost
        self._on_session = on_session
        self._on_renewed = on_renewed
        self._on_refused = on_refused
        self._is_refused = False
        self._outbox = Outbox(ledger, self._in_background)
        self._background: set[asyncio.Task[None]] = set()
        self._held: dict[int, int] = {}
        self._grants_seen = 0
        self._credit: Credit | None = None
        self._credit_is_new = False
        self._ask_drained = False
        self._wake = asyncio.Event()
        self._urgent = False
        self._closing = False
        self._renewal: Renewal | None = None
        self._task: asyncio.Task[None] | None = None

    # What the owner of the worker says

    async def start(self) -> None:
        """Opens the session and attaches; from then on work comes.

        Raises:
            BalsamError: the job store refuses, or is not there.
        """
        await self._open_session()
        self._task = asyncio.create_task(self._run())

    async def ended(self) -> None:
        """Waits for the end of the line, and raises what ended it: a refusal of the job store, or our own mistake."""
        if self._task:
            await asyncio.wait((self._task,))
            if not self._task.cancelled():
                self._task.result()

    def report(self, *reports: lease_pb2.Report, urgent: bool) -> None:
        """Reports on leases; repeated until acknowledged. `urgent`: somebody may wait for them, send them now."""
        self._outbox.add(self.session_id, reports)
        self._nudge(urgent)

    def report_late(self, report: lease_pb2.Report) -> None:
        """Reports the result of a run whose session has ended; it counts if nobody has taken over since."""
        if not holds_result(report):
            return
        self._outbox.add_late(self.session_id, report)
        if self.attached.is_set():
            self._late_in_background()

    def set_credit(self, credit: Credit, *, urgent: bool = True) -> None:
        """Says what more the session could take on."""
        self._credit = credit
        self._credit_is_new = True
        self._nudge(urgent)

    def ask_drained(self) -> None:
        """Asks to be told (`Response.drained`) when nothing more can come."""
        self._ask_drained = True
        self._nudge(True)

    async def settle(self) -> None:
        """Waits until every report is acknowledged."""
        await self._outbox.settle()

    async def close(self, *, patience: float = 5.0, end_session: bool = True) -> None:
        """Sends what is left and ends the session; gives up after `patience` seconds without a job store.

        Results that could not be reported are left in the ledger.

        Args:
            patience: see above [s].
            end_session: False: something of it may still run somewhere; so its leases last until nothing can.
        """
        self._nudge(True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.settle(), 0.0 if self._is_refused else patience)
        self._closing = True
        if self._renewal:
            self._renewal.stop()
        for task in [self._task, *self._background]:
            if task:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, BalsamError):
                    await task
        self._outbox.close()
        if not end_session:
            return
        connection = rpc.Connection(self.site, retry_seconds=0, prefer=self._store)
        request = session_service_pb2.CloseSessionRequest(session_id=self.session_id)
        with contextlib.suppress(BalsamError):
            failpoints.hit("worker.before-close", failpoints.as_unavailable)
            await asyncio.to_thread(connection.call, SessionServiceStub, "CloseSession", request, 5.0)
        connection.close()

    @property
    def store(self) -> str:
        """Name of the job store that has the session."""
        return self._store

    @property
    def trusted_until(self) -> float:
        """End of the time in which the session certainly lives, by `time.monotonic()`."""
        return self._renewal.trusted_until if self._renewal else 0.0

    @property
    def held(self) -> dict[int, int]:
        """Leases that are held or whose end is not acknowledged: handle -> token."""
        return self._held

    @property
    def margin_seconds(self) -> float:
        """How long before the lease may end trust ends [s]: time to stop what runs."""
        return margin_of(self.lease_seconds)

    # Results of sessions that have ended

    def _late_in_background(self) -> None:
        async def send() -> None:
            with contextlib.suppress(BalsamError):  # they are sent again when we attach again
                await self._send_late()

        if self._outbox.late:
            self._in_background(send())

    async def _send_late(self) -> None:
        """Sends results of ended sessions.

        Raises:
            BalsamError: the job store is away or has too much to do; they are kept.
        """
        while late := self._outbox.late[: that_fit(self._outbox.late)]:
            await self._send_some_late(late)

    async def _send_some_late(self, late: list[lease_pb2.Report]) -> None:
        connection = rpc.Connection(self.site, retry_seconds=0, prefer=self._store)
        request = session_service_pb2.RecoverReportsRequest(session_id=self.session_id, reports=late)
        try:
            answer = await asyncio.to_thread(connection.call, SessionServiceStub, "RecoverReports", request)
            log.info("%d late results; %d do not count: others have taken over", len(late), len(answer.refused))
        except (Unavailable, ResourceExhausted):
            raise
        except BalsamError as error:
            if error.reason == rpc.UNAUTHENTICATED:
                raise  # another one of ours, with a good credential, may report them
            log.error("%d late results are lost: %s", len(late), error)
        finally:
            connection.close()
        self._outbox.late_are_told(late)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # The session

    async def _open_session(self) -> None:
        store = stores.choose(self.site, turn=self._turn)
        connection = rpc.Connection(self.site, retry_seconds=rpc.RETRY_SECONDS, prefer=store)
        request = session_service_pb2.OpenSessionRequest(
            session=self._session, version=VERSION, request_id=str(uuid.uuid4())
        )
        sent = time.monotonic()
        answer = await asyncio.to_thread(connection.call, SessionServiceStub, "OpenSession", request)
        connection.close()
        self._store = connection.service
        self.session_id = answer.session.session_id
        self.lease_seconds = answer.lease_seconds
        if self._renewal:
            self._renewal.stop()
        tell = asyncio.get_running_loop().call_soon_threadsafe
        self._renewal = Renewal(
            self.site,
            self.session_id,
            self.lease_seconds,
            sent,
            on_end=functools.partial(tell, self._wake.set),
            on_renewed=functools.partial(tell, self._on_renewed),
            address=answer.renewal_address,
            store=self._store,
            on_moved=lambda store: tell(self._move, store),
        )
        self._renewal.start()
        self._on_session(self.session_id)
        self._on_renewed()

    async def _renew_session(self) -> None:
        """The session has ended: what it held is not ours any more; open another."""
        log.warning("session %s has ended", self.session_id)
        self._outbox.session_ended()
        self._held.clear()
        self._on_lost()
        delay = _RECONNECT_SECONDS[0]
        while True:
            try:
                await self._send_late()  # before we are granted the same jobs
                self._outbox.see_whether_settled()
                await self._open_session()
                return
            except BalsamError as error:
                if error.reason in _FINAL:
                    raise
                log.log(logging.DEBUG if isinstance(error, Unavailable) else logging.ERROR, "no session: %s", error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _RECONNECT_SECONDS[1])

    # The stream

    async def _run(self) -> None:
        try:
            await self._converse_again_and_again()
        except BalsamError as error:
            self._is_refused = True
            log.error("this session cannot go on: %s", error)
            self._on_refused(error)
            raise

    async def _converse_again_and_again(self) -> None:
        """As long as the job store lets us.

        Raises:
            BalsamError: it does not any more: our credential was revoked, or has expired.
        """
        delay = _RECONNECT_SECONDS[0]
        while not self._closing:
            channel = rpc.aio_channel(self.site, self._store)
            try:
                await self._converse(SessionServiceStub(channel).Work)
                delay = _RECONNECT_SECONDS[0]
            except asyncio.CancelledError:
                if self._closing or not (self._renewal and self._renewal.ended):
                    raise
                await self._renew_session()
            except grpc.RpcError as error:
                problem = await self._explained(rpc.unpack_error(error))
                if problem.reason in _FINAL:
                    raise problem from None
                if isinstance(problem, NotFound):
                    await self._renew_session()
                elif self.attached.is_set():
                    log.warning("lost the line to the job store: %s", problem)
                    delay = _RECONNECT_SECONDS[0]
                self._look_for_another(problem)
            finally:
                self.attached.clear()
                await channel.close(None)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, _RECONNECT_SECONDS[1])

    async def _explained(self, problem: BalsamError) -> BalsamError:
        endpoint = self.site.endpoint()
        return problem if endpoint is None else await asyncio.to_thread(endpoint.explained, problem, self._store)

    def _look_for_another(self, problem: BalsamError) -> None:
        """Goes to another job store, where there are several and this one is gone, or says that another has us."""
        if problem.reason == stores.OTHER_STORE and problem.field:
            self._move(problem.field)
        elif rpc.is_away(problem) or not stores.is_alive(self.site, self._store):
            self._move(stores.choose(self.site, {self._store}))

    def _move(self, store: str) -> None:
        if store != self._store:
            log.info("going on with %s", store)
            self._store = store
            if self._renewal:
                self._renewal.store = store

    async def _converse(self, work: Any) -> None:  # the generated stub types know no asyncio streams
        call = work(metadata=rpc.metadata(self.site))
        attach = session_service_pb2.WorkRequest.Attach(
            session_id=self.session_id,
            held=[lease_pb2.Lease(handle=handle, token=token) for handle, token in self._held.items()],
            states=self._states,  # type: ignore[arg-type]
            sends_output=self._session.kind == session_pb2.Session.LAUNCHER,
        )
        await call.write(session_service_pb2.WorkRequest(attach=attach))
        self._grants_seen = 0
        self._outbox.send_again()
        self._credit_is_new = self._credit is not None
        self._urgent = True
        self._wake.set()
        writer = asyncio.create_task(self._write(call))
        try:
            async for response in call:
                failpoints.hit("worker.before-message", failpoints.as_broken_call)
                self._receive(response)
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, grpc.RpcError, asyncio.InvalidStateError):
                await writer

    def _receive(self, response: Response) -> None:
        if response.attached:
            self.attached.set()
            self._wake.set()
            self._late_in_background()
        for grant in response.grants:
            self._held[grant.lease.handle] = grant.lease.token
        if response.grants_sent:
            self._grants_seen = response.grants_sent
        if response.HasField("ack"):
            self._acknowledged(response.ack)
        if response.drained:
            self._ask_drained = False
        self._on_response(response)

    def _acknowledged(self, ack: Response.Ack) -> None:
        for report in self._outbox.acknowledged(ack.number):
            if report.release and self._held.get(report.lease.handle) == report.lease.token:
                del self._held[report.lease.handle]
        for lease in ack.refused:
            if self._held.get(lease.handle) == lease.token:
                del self._held[lease.handle]
        self._outbox.see_whether_settled()
        if self._outbox.has_new:
            self._wake.set()

    def _nudge(self, urgent: bool) -> None:
        if urgent:
            self._urgent = True
        self._wake.set()

    async def _write(self, call: Any) -> None:
        """Sends what there is: at once if somebody waits for it, else gathered; few messages in flight."""
        await self.attached.wait()
        asked = False
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._renewal and self._renewal.ended:
                call.cancel()  # ends the reader, and with it this conversation
                return
            if not self._urgent:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._until_urgent(), GATHER_SECONDS)
            if self._outbox.gathers:
                continue  # the next acknowledgement wakes us
            self._urgent = False
            if asked and not self._ask_drained:
                asked = False
            request = self._next_request(ask=self._ask_drained and not asked)
            asked = self._ask_drained
            if request is not None:
                await call.write(request)
            if self._outbox.waits:
                self._wake.set()

    async def _until_urgent(self) -> None:
        while not self._urgent:
            await self._wake.wait()
            self._wake.clear()

    def _next_request(self, *, ask: bool) -> session_service_pb2.WorkRequest | None:
        request = session_service_pb2.WorkRequest(ask_drained=ask)
        reports = self._outbox.next_message()
        if reports is not None:
            request.reports.CopyFrom(reports)
        elif not ask and not self._credit_is_new:
            return None
        if self._credit_is_new and self._credit is not None:
            self._credit.grants_seen = self._grants_seen
            request.credit.CopyFrom(self._credit)
            self._credit_is_new = False
        return request
