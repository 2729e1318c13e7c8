"""Sends the outputs of runs to the job store, for who can reach neither their files nor this launcher.

The job store asks on the stream of work; each answer is a call of its own, over a channel of its own. The job store
takes a piece when its reader has taken the one before: so a slow reader holds up this call, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import grpc.aio

from balsam import rpc
from balsam.errors import BalsamError
from balsam.v1 import output_service_pb2 as pb
from balsam.v1.output_service_pb2_grpc import OutputServiceStub
from balsam.work import Response, Worker
from balsam_launcher.outputs import Outputs
from balsam_launcher.pool import Pool

log = logging.getLogger("balsam.launcher")

MOST = 32
"""Outputs that are sent at once; the job store asks for fewer."""
_AHEAD = 4
"""Pieces that are sent before the first of them is taken."""
_LAST_SECONDS = 5.0
"""When the launcher ends: for what is left of outputs whose runs have ended."""


class OutputSending:
    """Answers what the job store wants to be sent.

    Args:
        worker: the line on which it asks.
        pool: the jobs that are held.
        outputs: reads them.
    """

    def __init__(self, worker: Worker, pool: Pool, outputs: Outputs) -> None:
        self._worker = worker
        self._pool = pool
        self._outputs = outputs
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, wanted: Response.OutputWanted) -> None:
        """Sends one, in the background."""
        task = asyncio.create_task(self._send(wanted, too_many=len(self._tasks) >= MOST))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Gives those that have ended a moment to be sent to their ends, and breaks off the others."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, wanted: Response.OutputWanted, *, too_many: bool) -> None:
        channel = rpc.aio_channel(self._worker.site, self._worker.store)
        try:
            send: Any = OutputServiceStub(channel).SendOutput  # the generated stub types know no asyncio streams
            await self._write_all(send(metadata=rpc.metadata(self._worker.site)), wanted, too_many=too_many)
        except (grpc.RpcError, asyncio.InvalidStateError, BalsamError) as error:
            log.debug("an output is sent no more: %s", error)  # nobody reads it, or the job store is gone
        finally:
            await channel.close(None)

    async def _write_all(self, call: Any, wanted: Response.OutputWanted, *, too_many: bool) -> None:
        await call.write(pb.SendOutputRequest(session_id=self._worker.session_id, read_id=wanted.read_id))
        if too_many:
            problem = f"its launcher sends {MOST} outputs already; try again later"
            await call.write(pb.SendOutputRequest(problem=problem))
        else:
            async with contextlib.aclosing(self._messages(wanted)) as messages:
                await self._write_as_taken(call, messages)
        await call.done_writing()
        while await _is_taken(call):  # for as long as the reader takes for the last pieces, or until it leaves
            pass

    async def _write_as_taken(self, call: Any, messages: AsyncGenerator[pb.SendOutputRequest | None, None]) -> None:
        """Writes messages, few of them ahead of what the reader has taken."""
        under_way = 0
        async for message in messages:
            if call.done():
                return
            if under_way >= _AHEAD:
                if not await _is_taken(call):
                    return
                under_way -= 1
            if message is not None:
                await call.write(message)
                under_way += 1

    async def _messages(self, wanted: Response.OutputWanted) -> AsyncGenerator[pb.SendOutputRequest | None, None]:
        """What is sent; None: nothing now."""
        leased = self._pool.find(wanted.lease.handle)
        if leased is None or leased.lease.token != wanted.lease.token:
            yield pb.SendOutputRequest(problem="its run has just ended")
            return
        try:
            async for data, start in self._outputs.pieces(leased, wanted.offset, follow=wanted.follow):
                yield pb.SendOutputRequest(data=data, offset=start) if data else None
        except OSError as error:
            yield pb.SendOutputRequest(problem=f"its launcher cannot read {error.filename}: {error.strerror}")
        except BalsamError as error:
            yield pb.SendOutputRequest(problem=str(error))
        else:
            yield pb.SendOutputRequest(complete=True)


async def _is_taken(call: Any) -> bool:
    """Waits until another piece is taken; False: none will be."""
    return isinstance(await call.read(), pb.SendOutputResponse)
