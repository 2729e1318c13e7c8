"""LauncherService: what callers on this host may ask of a launcher."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from balsam.errors import NotFound
from balsam.outputs import NO_OUTPUT
from balsam.v1 import launcher_service_pb2 as pb
from balsam.v1.launcher_service_pb2_grpc import LauncherServiceServicer
from balsam.version import VERSION
from balsam_launcher.launcher import Launcher
from balsam_launcher.leased import LeasedJob


class LauncherService(LauncherServiceServicer):
    """Translates; the verbs are those of `Launcher`."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    async def GetLauncherStatus(
        self, request: pb.GetLauncherStatusRequest, context: Any
    ) -> pb.GetLauncherStatusResponse:
        """Its nodes, what runs there, and how busy they are."""
        launcher = self._launcher
        return pb.GetLauncherStatusResponse(
            pid=os.getpid(),
            version=VERSION,
            session_id=launcher.worker.session_id,
            nodes=[node.name for node in launcher.nodes],
            runs=[self._run(leased) for leased in launcher.pool.running.values()],
            waiting=len(launcher.pool.waiting) + len(launcher.pool.queued),
            ended=launcher.outcomes.ended,
            errors=launcher.outcomes.errors,
            utilization=launcher.utilization,
            seconds_left=launcher.seconds_left,
            draining=launcher.draining,
            set_aside=[
                pb.SetAsideNode(name=launcher.nodes[node].name, reason=reason)
                for node, reason in launcher.set_aside.items()
            ],
        )

    async def StopRun(self, request: pb.StopRunRequest, context: Any) -> pb.StopRunResponse:
        """Stops one run."""
        self._launcher.stop_job(self._running(request.job_id))
        return pb.StopRunResponse()

    async def Drain(self, request: pb.DrainRequest, context: Any) -> pb.DrainResponse:
        """Starts nothing more."""
        self._launcher.drain()
        return pb.DrainResponse(runs=len(self._launcher.pool.running))

    async def TailOutput(self, request: pb.TailOutputRequest, context: Any) -> AsyncIterator[pb.TailOutputResponse]:
        """The output of a run, as it grows.

        Raises:
            NotFound: it does not run here, or its output cannot be read.
        """
        leased = self._running(request.job_id)
        try:
            async for data, start in self._launcher.outputs.pieces(leased, request.offset, follow=request.follow):
                if data:
                    yield pb.TailOutputResponse(data=data, offset=start)
        except OSError as error:
            raise NotFound(f"cannot read {error.filename}: {error.strerror}", reason=NO_OUTPUT) from None

    def _running(self, job_id: str) -> LeasedJob:
        leased = self._launcher.pool.by_id(job_id)
        if leased is None or leased.run_id not in self._launcher.pool.running:
            raise NotFound(f"job {job_id!r} does not run under this launcher")
        return leased

    def _run(self, leased: LeasedJob) -> pb.Run:
        run = pb.Run(
            job_id=leased.job.job_id,
            name=leased.job.name,
            attempt=leased.job.attempt,
            nodes=[self._launcher.nodes[node].name for node in leased.nodes],
            pid=leased.pid,
        )
        if leased.start_us:
            run.start_time.CopyFrom(Timestamp(seconds=leased.start_us // 10**6, nanos=leased.start_us % 10**6 * 1000))
        return run
