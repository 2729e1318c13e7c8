"""What the scheduler says to the job store and in which order, told by a job store that only listens."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from balsam.errors import NotFound, ValidationError
from balsam.serving import Service, ServiceLock, owner_only
from balsam.site import Site
from balsam.v1 import job_pb2, lease_pb2, session_pb2, session_service_pb2
from balsam.v1.session_service_pb2_grpc import SessionServiceServicer, add_SessionServiceServicer_to_server
from balsam_scheduler.rules import RULES, SLOW_STATES
from tests.support.processes import log_tails

pb = session_service_pb2
LEASE_SECONDS = 2.0


class ListeningJobStore(SessionServiceServicer):
    """Keeps what it hears, in order: ("open", "rules", "credit", "report", "close")."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.sessions: list[session_pb2.Session] = []
        self.rules: list[pb.Rule] = []
        self.attached: list[pb.WorkRequest.Attach] = []
        self.reports: list[lease_pb2.Report] = []
        self.ended: set[str] = set()
        self.refuse_rules = False
        self.to_send: asyncio.Queue[pb.WorkResponse] = asyncio.Queue()

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Any) -> pb.ListSessionsResponse:
        return pb.ListSessionsResponse()

    async def OpenSession(self, request: pb.OpenSessionRequest, context: Any) -> pb.OpenSessionResponse:
        self.heard.append("open")
        session = request.session
        session.session_id = f"session-{len(self.sessions)}"
        self.sessions.append(session)
        return pb.OpenSessionResponse(session=session, lease_seconds=LEASE_SECONDS)

    def check(self, session_id: str) -> None:
        if session_id in self.ended:
            raise NotFound("this session has ended", reason="SESSION_ENDED")

    async def RenewSession(self, request: pb.RenewSessionRequest, context: Any) -> pb.RenewSessionResponse:
        self.check(request.session_id)
        return pb.RenewSessionResponse()

    async def CloseSession(self, request: pb.CloseSessionRequest, context: Any) -> pb.CloseSessionResponse:
        self.heard.append("close")
        return pb.CloseSessionResponse()

    async def RegisterRules(self, request: pb.RegisterRulesRequest, context: Any) -> pb.RegisterRulesResponse:
        self.heard.append("rules")
        self.check(request.session_id)
        if self.refuse_rules:
            raise ValidationError("no such condition")
        self.rules = list(request.rules)
        return pb.RegisterRulesResponse()

    async def Work(self, requests: AsyncIterator[pb.WorkRequest], context: Any) -> AsyncIterator[pb.WorkResponse]:
        attach = (await anext(requests)).attach
        self.check(attach.session_id)
        self.attached.append(attach)
        reader = asyncio.create_task(self._read(requests))
        try:
            yield pb.WorkResponse(attached=True)
            while True:
                yield await self.to_send.get()
        finally:
            reader.cancel()

    async def _read(self, requests: AsyncIterator[pb.WorkRequest]) -> None:
        async for request in requests:
            if request.credit.jobs:
                self.heard.append("credit")
            if request.reports.reports:
                self.heard.append("report")
                self.reports += request.reports.reports
                self.to_send.put_nowait(pb.WorkResponse(ack=pb.WorkResponse.Ack(number=request.reports.number)))

    def grant(self, directory: Path, preprocess: str) -> None:
        """Hands out a job that needs pre-processing."""
        job = job_pb2.Job(job_id="1" * 8, state=job_pb2.Job.STAGED_IN, working_directory=str(directory))
        grant = lease_pb2.Grant(lease=lease_pb2.Lease(handle=1, token=1), job=job, program_id=1, script_attempt=1)
        program = lease_pb2.Program(program_id=1, name="app", preprocess=preprocess)
        self.to_send.put_nowait(pb.WorkResponse(grants=[grant], programs=[program], grants_sent=1))

    async def until(self, condition: Callable[[], object], site: Site) -> None:
        try:
            async with asyncio.timeout(30):
                while not condition():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"heard {self.heard}\n{log_tails(site)}")


@contextlib.asynccontextmanager
async def running(site: Site) -> AsyncIterator[tuple[ListeningJobStore, asyncio.subprocess.Process]]:
    """The listening job store, and a scheduler beside it."""
    ServiceLock(site.make_run() / "jobstore.lock").acquire("job store")
    service, store = Service(site, "jobstore", owner_only(site)), ListeningJobStore()
    add_SessionServiceServicer_to_server(store, service.server)
    await service.start()
    command = (sys.executable, "-m", "balsam_scheduler", "--site", str(site.path))
    scheduler = await asyncio.create_subprocess_exec(*command)
    try:
        yield store, scheduler
    finally:
        if scheduler.returncode is None:
            scheduler.send_signal(signal.SIGTERM)
            await scheduler.wait()
        await service.stop()


def test_rules_are_in_force_before_work_is_asked_for_and_the_end_is_said(site: Site) -> None:
    async def story() -> None:
        async with running(site) as (store, scheduler):
            await store.until(lambda: "credit" in store.heard, site)
            scheduler.send_signal(signal.SIGTERM)
            assert await scheduler.wait() == 0
            assert store.heard == ["open", "rules", "credit", "close"]
            assert store.sessions[0].kind == session_pb2.Session.SCHEDULER
            assert store.sessions[0].pid == scheduler.pid
            assert store.rules == list(RULES)
            assert list(store.attached[0].states) == list(SLOW_STATES)

    asyncio.run(story())


def test_a_session_that_has_ended_is_followed_by_another_with_its_rules(site: Site) -> None:
    async def story() -> None:
        async with running(site) as (store, _):
            await store.until(lambda: "credit" in store.heard, site)
            store.ended.add("session-0")
            await store.until(lambda: store.heard.count("credit") == 2, site)
            assert store.heard == ["open", "rules", "credit", "open", "rules", "credit"]
            assert [attach.session_id for attach in store.attached] == ["session-0", "session-1"]

    asyncio.run(story())


def test_a_script_of_a_session_that_has_ended_is_stopped_and_not_reported(site: Site, tmp_path: Path) -> None:
    (tmp_path / "script.sh").write_text(
        "trap 'echo stopped > end; exit' TERM; echo > begun; while :; do sleep .05; done"
    )
    directory = site.data / "job"

    async def story() -> None:
        async with running(site) as (store, _):
            await store.until(lambda: "credit" in store.heard, site)
            store.grant(directory, f"sh {tmp_path}/script.sh")
            await store.until((directory / "begun").exists, site)
            store.ended.add("session-0")
            await store.until((directory / "end").exists, site)
            await store.until(lambda: store.heard.count("credit") >= 2, site)
            assert not store.reports
            assert not store.attached[-1].held

    asyncio.run(story())


def test_rules_that_are_refused_are_logged_and_no_work_is_asked_for(site: Site) -> None:
    async def story() -> None:
        async with running(site) as (store, _):
            store.refuse_rules = True
            log = site.log / "scheduler.log"
            await store.until(lambda: log.exists() and "does not take the rules: no such" in log.read_text(), site)
            assert store.heard == ["open", "rules"]

    asyncio.run(story())


def test_a_step_is_reported_with_its_state_and_released(site: Site) -> None:
    async def story() -> None:
        async with running(site) as (store, _):
            await store.until(lambda: "credit" in store.heard, site)
            store.grant(site.data / "job", "true")
            await store.until(lambda: store.reports, site)
            (report,) = store.reports
            assert [passage.state for passage in report.passages] == [job_pb2.Job.PREPROCESSED]
            assert report.release
            assert report.lease == lease_pb2.Lease(handle=1, token=1)
            assert not report.HasField("exit_code")

    asyncio.run(story())
