"""Launchers without processes: each takes what fits on its nodes, and reports at once that it ran and ended well.

    python -m benchmarks.simulated_launchers SITE LAUNCHERS NODES

Says "ready" on its standard output when all are connected, begins at the first line of its standard input, and says
"drained" when nothing is left and the job store has acknowledged every report.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from typing import Any

from balsam.site import Site, open_site
from balsam.states import State
from balsam.v1 import lease_pb2, session_pb2
from balsam.work import Credit, Response, Worker
from balsam_launcher.appetite import Appetite

_MOST_JOBS = 10_000  # as of a real launcher
_RUN_SECONDS = 1e-4  # what a run is said to have taken


class SimulatedLauncher:
    """One launcher."""

    def __init__(self, site: Site, nodes: int) -> None:
        self.drained = asyncio.Event()
        self.ended = 0
        self._nodes = nodes
        self._appetite = Appetite(nodes)
        session = session_pb2.Session(
            kind=session_pb2.Session.LAUNCHER, host=socket.gethostname(), pid=os.getpid(), nodes=nodes, job_mode="auto"
        )
        self.worker = Worker(site, session, on_response=self._on_response, on_lost=self._on_lost)

    def begin(self) -> None:
        """Asks for work, and to be told when there is none any more."""
        self.worker.set_credit(self._credit())
        self.worker.ask_drained()

    def _on_response(self, response: Response) -> None:
        if response.ack.refused:
            raise RuntimeError(f"{len(response.ack.refused)} reports were refused")
        if response.grants:
            end_us = time.time_ns() // 1000
            for grant in response.grants:
                self._appetite.learn(_RUN_SECONDS, grant.job.num_nodes or 1, time.monotonic())
            self.ended += len(response.grants)
            self.worker.set_credit(self._credit(), urgent=False)
            self.worker.report(*(_ended(grant, end_us) for grant in response.grants), urgent=True)
        if response.drained:
            self.drained.set()

    def _credit(self) -> Credit:
        return Credit(nodes=self._nodes + self._appetite.nodes, jobs=_MOST_JOBS, largest=self._nodes)

    def _on_lost(self) -> None:
        raise RuntimeError("the session was lost")


def _ended(grant: lease_pb2.Grant, end_us: int) -> lease_pb2.Report:
    start_us = end_us - int(_RUN_SECONDS * 1e6)
    passages = [
        lease_pb2.Passage(state=int(State.RUNNING), time_us=start_us),  # type: ignore[arg-type]
        lease_pb2.Passage(state=int(State.RUN_DONE), time_us=end_us),  # type: ignore[arg-type]
    ]
    return lease_pb2.Report(lease=grant.lease, passages=passages, exit_code=0, release=True)


async def _work(site: Site, count: int, nodes: int) -> None:
    launchers = [SimulatedLauncher(site, nodes) for _ in range(count)]
    for launcher in launchers:
        await launcher.worker.start()
        await launcher.worker.attached.wait()
    print("ready", flush=True)
    if not await asyncio.to_thread(sys.stdin.readline):
        sys.exit("nobody says that it begins")
    for launcher in launchers:
        launcher.begin()
    ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(launcher.worker.ended()) for launcher in launchers]
    drained: asyncio.Future[Any] = asyncio.gather(*(_until_drained(launcher) for launcher in launchers))
    await asyncio.wait([drained, *ends], return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        if end.done():
            end.result()  # raises what broke it
            raise RuntimeError("a line to the job store has ended")
    print("drained", flush=True)
    for end in ends:
        end.cancel()
    for launcher in launchers:
        await launcher.worker.close()


async def _until_drained(launcher: SimulatedLauncher) -> None:
    await launcher.drained.wait()
    await launcher.worker.settle()


if __name__ == "__main__":
    asyncio.run(_work(open_site(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
