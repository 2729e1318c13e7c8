"""Outputs of the runs of a launcher, as they grow: from its own host, or by the agent of the run's node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from balsam.commands import output_name
from balsam.outputs import OutputFile
from balsam_launcher.fleet import HEAD, Fleet
from balsam_launcher.leased import LeasedJob
from balsam_launcher.pool import Pool
from balsam_launcher.reading import read_aside

_LOOK_SECONDS = 0.2  # how soon new output is seen


class Outputs:
    """Reads them.

    Args:
        pool: says which jobs are held.
        agents: those of other nodes read what runs there have written.
        root_of: gives the site's data directory, as the path of a working directory begins.
    """

    def __init__(self, pool: Pool, agents: Fleet, root_of: Callable[[str], str]) -> None:
        self._pool = pool
        self._agents = agents
        self._root_of = root_of

    async def pieces(self, leased: LeasedJob, offset: int, *, follow: bool) -> AsyncIterator[tuple[bytes, int]]:
        """The output of a job's run from an offset on (see `OutputFile.read`), and where each piece begins.

        An empty one each time there is nothing new. Ends with the run, once all of it was read; without `follow`, when
        all that there is was read.

        Raises:
            OSError: it cannot be read; names the file.
            ValidationError: the working directory is nowhere that it may be.
        """
        file = self._file(leased)
        while True:
            held = self._pool.find(leased.lease.handle) is leased  # before reading: then the last bytes are not missed
            data, start = await self._read(leased, file, offset)
            yield data, start
            if data:
                offset = start + len(data)
            elif not (held and follow):
                return
            else:
                await asyncio.sleep(_LOOK_SECONDS)

    def _file(self, leased: LeasedJob) -> OutputFile:
        job = leased.job
        root = self._root_of(job.working_directory) if job.working_directory and not job.user_workdir else ""
        return OutputFile(job.working_directory, output_name(job.name), root, for_others=True)

    async def _read(self, leased: LeasedJob, file: OutputFile, offset: int) -> tuple[bytes, int]:
        """Some of it; nothing where the run has not made it yet.

        Of a run on another node that node's agent is asked: under the same path there may be what an earlier attempt
        has left here.
        """
        try:
            if leased.agent == HEAD:
                return await read_aside(file, offset)
            try:
                return await self._agents.read_output(leased.agent, file, offset)
            except TimeoutError:  # out of reach: perhaps the file is not
                return await read_aside(file, offset)
        except FileNotFoundError:
            return b"", max(0, offset)
