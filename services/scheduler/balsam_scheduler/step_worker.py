"""The slow path alone, for the jobs of one user: what a launcher has beside itself where the scheduler works in
somebody else's account.

It does what the scheduler does for jobs of the site's owner, under the same leases, and reports in the same way; it
looks after the launches of its user, too. It has no rules, and gets work only while a scheduler's are in force. It ends
when its standard input does: with its launcher, however that ends. While the job store is away, its guard ends it, with
its scripts, before its leases can end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import socket
from collections.abc import Sequence

from balsam import rpc
from balsam.collector import collect_rarely
from balsam.errors import BalsamError, Unavailable
from balsam.logs import open_log
from balsam.site import Site
from balsam.v1 import session_pb2
from balsam.work import Response, Worker
from balsam_scheduler.dispatch import Dispatcher
from balsam_scheduler.guarding import Guard
from balsam_scheduler.launches import LaunchWatch
from balsam_scheduler.parents import ParentFinder
from balsam_scheduler.programs import Runner
from balsam_scheduler.rules import SLOW_STATES
from balsam_scheduler.steps import Steps

log = logging.getLogger("balsam.scheduler")

WORKERS = 2
"""Steps that are done at once where the setting script_workers says nothing: the nodes are there for runs."""
_RETRY_SECONDS = 1.0
_INPUT = 0


def run(site: Site, log_name: str, trusted_users: Sequence[str] = ()) -> None:
    """Is a step worker until its launcher ends, or a signal ends it.

    Args:
        site: the site.
        log_name: the log in the site's ``log/``.
        trusted_users: users whose scripts and stagings it does beside those of its own.

    Raises:
        BalsamError: the job store refuses.
    """
    if not _wait_for_settings(site):
        return
    open_log(site, log_name)
    guard = Guard()
    try:
        collect_rarely()
        asyncio.run(_run(site, guard, trusted_users))
    except BalsamError as error:
        log.error("%s", error)
        raise
    finally:
        guard.close()


def _wait_for_settings(site: Site) -> bool:
    """Whether they are there; those of somebody else's site the job store tells. False: the launcher has ended."""
    while True:
        try:
            return bool(site.settings)
        except Unavailable:
            if select.select([_INPUT], [], [], _RETRY_SECONDS)[0]:
                return False


async def _run(site: Site, guard: Guard, trusted_users: Sequence[str]) -> None:
    await StepWorker(site, guard, trusted_users).run()


class StepWorker:
    """Its parts. Made in the loop that it runs in."""

    def __init__(self, site: Site, guard: Guard, trusted_users: Sequence[str]) -> None:
        settings = site.settings
        self._guard = guard
        runner = Runner(guard, settings.kill_grace_seconds)
        self._launches = LaunchWatch(site, runner.start)
        self._connection = rpc.Connection(site, retry_seconds=0)
        steps = Steps(site, runner, ParentFinder(self._connection))
        workers = settings.script_workers or WORKERS
        self._dispatcher = Dispatcher(steps.do, workers=workers, limit_seconds=settings.script_timeout_seconds)
        session = session_pb2.Session(
            kind=session_pb2.Session.STEP_WORKER,
            host=socket.gethostname(),
            pid=os.getpid(),
            trusted_users=trusted_users,
        )
        self._worker = Worker(
            site,
            session,
            on_response=self._receive,
            on_lost=self._dispatcher.lost,
            on_renewed=self._trust,
            states=SLOW_STATES,
        )
        self._dispatcher.connect(self._worker)

    async def run(self) -> None:
        """Works until it is told to stop.

        Raises:
            BalsamError: the job store refuses us.
        """
        stopping = asyncio.create_task(_told_to_stop().wait())
        working = asyncio.create_task(self._work())
        looking = asyncio.create_task(self._launches.run())
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            self._launches.stop()
            tasks = (working, stopping, looking)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop()

    async def _work(self) -> None:
        while True:
            try:
                await self._worker.start()
                break
            except Unavailable as error:
                log.warning("waiting for the job store: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)
        log.info("session %s, %d workers", self._worker.session_id, self._dispatcher.workers)
        await self._worker.ended()

    async def _stop(self) -> None:
        """Scripts that run now are stopped, and given back to be run again."""
        await self._dispatcher.stop()
        if self._worker.session_id:
            await self._worker.close()
        self._connection.close()
        log.info("stopped")

    def _receive(self, response: Response) -> None:
        if response.attached:
            self._dispatcher.open()
        self._dispatcher.receive(response)

    def _trust(self) -> None:
        self._guard.trust(self._worker.trusted_until + self._worker.margin_seconds / 2)


def _told_to_stop() -> asyncio.Event:
    """Set by a signal, and by the end of standard input."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, told.set)

    def heard() -> None:
        if not os.read(_INPUT, 4096):
            loop.remove_reader(_INPUT)
            told.set()

    loop.add_reader(_INPUT, heard)
    return told
