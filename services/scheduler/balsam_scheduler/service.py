"""The scheduler as a process: its lock, its socket, its session with the job store, and a clean stop.

It serves from the start, and says NOT_SERVING until its rules are in force for the first time: `balsam up` returns when
jobs move. Without a job store it waits for one. When the job store comes back after a restart, or the session had
ended, the rules are registered again before any work is asked for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Coroutine
from typing import Any

from balsam import failpoints, ledger, rpc
from balsam.collector import collect_rarely
from balsam.errors import BalsamError, NotFound, Unavailable
from balsam.logs import open_log
from balsam.serving import Service, ServiceLock, owner_only
from balsam.site import Site
from balsam.v1 import session_pb2, session_service_pb2
from balsam.v1.scheduler_service_pb2_grpc import add_SchedulerServiceServicer_to_server
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from balsam.work import Response, Worker
from balsam_scheduler.dispatch import Dispatcher
from balsam_scheduler.guarding import LOCK_FILE, Guard
from balsam_scheduler.launches import LaunchWatch
from balsam_scheduler.parents import ParentFinder
from balsam_scheduler.programs import Runner
from balsam_scheduler.rules import RULES, SLOW_STATES
from balsam_scheduler.server import SchedulerServicer
from balsam_scheduler.steps import Steps

log = logging.getLogger("balsam.scheduler")

_RETRY_SECONDS = 0.1
_REFUSED_SECONDS = 5.0
_DEADLINE_SECONDS = 10.0
_LEAST_WORKERS = 2
_LEDGER_SECONDS = 2.0


def run(site: Site, *, echo: bool = False) -> None:
    """Is the scheduler of a site until a signal ends it; `echo`: its log goes to stderr as well.

    Raises:
        BalsamError: another one runs already, or the job store refuses this one.
    """
    lock = ServiceLock(site.make_run() / "scheduler.lock")
    lock.acquire("scheduler")
    open_log(site, "scheduler", echo=echo)
    guard = Guard(site.run / LOCK_FILE)
    try:
        collect_rarely()
        asyncio.run(_run(site, guard))
    except BalsamError as error:
        log.error("%s", error)
        raise
    finally:
        guard.close()


async def _run(site: Site, guard: Guard) -> None:
    await Scheduler(site, guard).run()


def number_of_workers(setting: int) -> int:
    """How many steps are done at once; `setting` 0: as many as there are cores, at least 2."""
    return setting or max(_LEAST_WORKERS, len(os.sched_getaffinity(0)))


class Scheduler:
    """The scheduler's parts, and what goes between them. Made in the loop that it runs in."""

    def __init__(self, site: Site, guard: Guard) -> None:
        settings = site.settings
        self._guard = guard
        self._connection = rpc.Connection(site, retry_seconds=0)
        runner = Runner(guard, settings.kill_grace_seconds)
        steps = Steps(site, runner, ParentFinder(self._connection))
        self._launches = LaunchWatch(site, runner.start)
        workers = number_of_workers(settings.script_workers)
        self._dispatcher = Dispatcher(steps.do, workers=workers, limit_seconds=settings.script_timeout_seconds)
        self._service = Service(site, "scheduler", owner_only(site))
        servicer = SchedulerServicer(self._dispatcher, lambda: (self._session_id, self._rules))
        add_SchedulerServiceServicer_to_server(servicer, self._service.server)
        session = session_pb2.Session(
            kind=session_pb2.Session.SCHEDULER,
            host=socket.gethostname(),
            pid=os.getpid(),
            address=site.address("scheduler"),
        )
        self._worker = Worker(
            site, session, on_response=self._receive, on_lost=self._dispatcher.lost, states=SLOW_STATES
        )
        self._dispatcher.connect(self._worker)
        self._rules = 0
        self._registration: asyncio.Task[None] | None = None
        self._refusal: BalsamError | None = None

    @property
    def _session_id(self) -> str:
        return self._worker.session_id if self._worker.attached.is_set() else ""

    async def run(self) -> None:
        """Works until it is told to stop.

        Raises:
            BalsamError: the job store refuses us.
        """
        self._service.stop_on_signals()
        await self._service.start(ready=False)
        log.info("scheduler of %s, %d workers", self._service.site.path, self._dispatcher.workers)
        beside = [asyncio.create_task(self._recover_ledgers()), asyncio.create_task(self._launches.run())]
        try:
            await self._until_stopped(self._work())
            if self._refusal is not None:
                raise self._refusal
        finally:
            for task in beside:
                task.cancel()
            self._launches.stop()
            await self._stop()

    async def _recover_ledgers(self) -> None:
        """Looks for results that dead launchers could not report, for ever."""
        connection = rpc.Connection(self._service.site, retry_seconds=0)
        while True:
            try:
                await asyncio.to_thread(ledger.recover, self._service.site, connection)
            except BalsamError as error:
                log.debug("cannot send results of dead launchers: %s", error)
            except OSError as error:
                log.warning("cannot read the ledgers of dead launchers: %s", error)
            await asyncio.sleep(_LEDGER_SECONDS)

    async def _until_stopped(self, work: Coroutine[None, None, None]) -> None:
        """Ends at a signal, or with `work`, and then as that does."""
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._service.stopping.wait())
        done, _ = await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        stopping.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
        if working in done:
            working.result()

    async def _work(self) -> None:
        if not await self._guard.ready():
            log.error("scripts of a scheduler before this one still run; going on without them")
        waiting = False
        while True:
            try:
                # The worker has more patience with a job store that is away than a clean stop has with us.
                await self._call("ListSessions", session_service_pb2.ListSessionsRequest())
                await self._worker.start()
                break
            except Unavailable as error:
                if not waiting:
                    log.warning("waiting for the job store: %s", error)
                waiting = True
            await asyncio.sleep(_RETRY_SECONDS)
        await self._worker.ended()

    async def _call(self, method: str, request: Any) -> Any:
        return await asyncio.to_thread(self._connection.call, SessionServiceStub, method, request, _DEADLINE_SECONDS)

    async def _stop(self) -> None:
        """Scripts that run now are stopped, and given back to be run again."""
        log.info("stopping")
        await self._dispatcher.stop()
        if self._registration:
            self._registration.cancel()
        if self._worker.session_id:
            await self._worker.close()
        await self._service.stop()
        self._connection.close()
        log.info("stopped")

    def _receive(self, response: Response) -> None:
        if response.attached:
            self._rules = 0
            self._dispatcher.close()
            if self._registration:
                self._registration.cancel()
            self._registration = asyncio.create_task(self._register(self._worker.session_id))
        self._dispatcher.receive(response)

    async def _register(self, session_id: str) -> None:
        """Puts the rules in force, then asks for work."""
        request = session_service_pb2.RegisterRulesRequest(session_id=session_id, rules=RULES)
        delay = _RETRY_SECONDS
        while True:
            try:
                answer = await self._call("RegisterRules", request)
                failpoints.hit("scheduler.after-rules", failpoints.as_unavailable)
                break
            except Unavailable as error:
                log.debug("cannot register the rules: %s", error)
            except NotFound:
                return  # the session has ended; the next one registers them
            except BalsamError as error:
                if error.reason == rpc.UNAUTHENTICATED:
                    self._refusal = error
                    self._service.stopping.set()
                    return
                log.error("the job store does not take the rules: %s", error)
                delay = _REFUSED_SECONDS
            await asyncio.sleep(delay)
        self._rules = len(RULES)
        log.info("session %s: %d rules in force, %d jobs moved", session_id, self._rules, answer.moved)
        self._dispatcher.open()
        await self._service.set_ready()
