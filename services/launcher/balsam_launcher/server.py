"""LauncherService: what callers on this host may ask of a launcher."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from balsam.commands import output_name
from balsam.errors import NotFound
from balsam.v1 import launcher_service_pb2 as pb
from balsam.v1.launcher_service_pb2_grpc import LauncherServiceServicer
from balsam.version import VERSION
from balsam_launcher.launcher import Launcher
from balsam_launcher.leased import LeasedJob

_CHUNK_BYTES = 65_536
_LOOK_SECONDS = 0.2  # how soon new output is seen


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
        """The output of a run, as it grows."""
        leased = self._running(request.job_id)
        path = os.path.join(leased.job.working_directory, output_name(leased.job.name))
        offset = max(0, request.offset)
        while True:
            runs = leased.run_id in self._launcher.pool.running  # before reading: then the last bytes are not missed
            data = await asyncio.to_thread(read_output, path, offset)
            if data:
                yield pb.TailOutputResponse(data=data, offset=offset)
                offset += len(data)
            elif not (runs and request.follow):
                return
            else:
                await asyncio.sleep(_LOOK_SECONDS)

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


def read_output(path: str, offset: int) -> bytes:
    """Some bytes of a regular file from an offset; none where there is no such file, or no more in it. No link is
    followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        return os.pread(descriptor, _CHUNK_BYTES, offset)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
