"""OutputService: the relay of outputs between launchers and those who cannot reach them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from balsam import stores
from balsam.errors import NotFound, Unavailable, ValidationError
from balsam.fields import check_id
from balsam.outputs import NO_OUTPUT, NO_RUN, PIECE_BYTES
from balsam.serving import CALLER
from balsam.states import State
from balsam.v1 import lease_pb2, output_service_pb2, session_service_pb2
from balsam.v1.output_service_pb2_grpc import OutputServiceServicer
from balsam_jobstore import sessions
from balsam_jobstore.leases import Delivery, Stream
from balsam_jobstore.output_reads import OutputReads, Piece, broken_line
from balsam_jobstore.reading import JobHold, hold_of
from balsam_jobstore.rights import rights_of_caller
from balsam_jobstore.sessions import Session
from balsam_jobstore.store import Store

pb = output_service_pb2

_FIRST_SECONDS = 10.0


class OutputService(OutputServiceServicer):
    """Translates; what is on its way is in `output_reads`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reads = OutputReads()

    async def ReadOutput(self, request: pb.ReadOutputRequest, context: Any) -> AsyncIterator[pb.ReadOutputResponse]:
        """The output of a run, from its launcher."""
        job = await self._job(check_id(request.job_id, "job_id"))
        rights_of_caller(self._store.users).check_output(job.label, job.owner_key)
        session = await self._session(job)
        line = self._line(session)
        with self._reads.one(session, CALLER.get()) as read:
            wanted = session_service_pb2.WorkResponse.OutputWanted(
                read_id=read.read_id,
                lease=lease_pb2.Lease(handle=job.key, token=job.fence),
                offset=request.offset,
                follow=request.follow,
            )
            line.deliver(Delivery(message=session_service_pb2.WorkResponse(outputs=[wanted])))
            async with contextlib.aclosing(read.pieces()) as pieces:
                async for piece in pieces:
                    yield pb.ReadOutputResponse(data=piece.data, offset=piece.offset)

    async def SendOutput(
        self, request: AsyncIterator[pb.SendOutputRequest], context: Any
    ) -> AsyncIterator[pb.SendOutputResponse]:
        """What a launcher was asked for."""
        try:
            async with asyncio.timeout(_FIRST_SECONDS):
                first = await anext(aiter(request), None)
        except TimeoutError:
            first = None
        if first is None:
            raise ValidationError("the first message must name a session and a read_id", field="read_id")
        session = await self._store.session_of(first.session_id)
        rights_of_caller(self._store.users).check_session(session)
        read = self._reads.get(first.read_id, session)
        async with contextlib.aclosing(read.take(_pieces(request, session))) as taken:
            async for number in taken:
                yield pb.SendOutputResponse(taken=number)

    async def _job(self, job_id: str) -> JobHold:
        found = await self._store.read(lambda connection: hold_of(connection, job_id))
        if found is None:
            raise NotFound(f"there is no job {job_id}", field="job_id")
        return found

    async def _session(self, job: JobHold) -> Session:
        """The launcher's that has a job.

        Raises:
            NotFound: none has it.
            Unavailable: it is another job store's; names that.
        """
        if job.session is None:
            raise NotFound(f"job {job.label} does not run now: it is {State(job.state).name}", reason=NO_RUN)
        for session in await self._store.all_sessions():
            if session.key != job.session:
                continue
            if session.kind != sessions.LAUNCHER:
                raise NotFound(f"job {job.label} does not run yet: the {session.label} has it", reason=NO_RUN)
            siblings = self._store.siblings
            if siblings is not None and session.store != siblings.number:
                name = stores.name(session.store)
                raise Unavailable(f"the {session.label} is at {name}", reason=stores.OTHER_STORE, field=name)
            return session
        raise NotFound(f"job {job.label} does not run now: its launcher has just ended", reason=NO_RUN)

    def _line(self, session: Session) -> Stream:
        line = self._store.streams.get(session.key)
        if line is None:
            raise Unavailable(f"the {session.label} is not connected to the job store now; try again in a moment")
        if not line.sends_output:
            raise NotFound(
                f"the {session.label} is of Balsam {session.version}, which does not send output: read the file on "
                "that host, or start a newer launcher",
                reason=NO_OUTPUT,
            )
        return line


async def _pieces(messages: AsyncIterator[pb.SendOutputRequest], session: Session) -> AsyncIterator[Piece]:
    """What a launcher sends, up to its last message.

    Raises:
        NotFound: it cannot send more, and says why.
        Unavailable: it has ended without a last word.
        ValidationError: a piece is too large.
    """
    async for message in messages:
        if message.complete:
            return
        if message.problem:
            raise NotFound(message.problem, reason=NO_OUTPUT)
        if len(message.data) > PIECE_BYTES:
            raise ValidationError(
                f"data has {len(message.data)} bytes; at most {PIECE_BYTES} are allowed", field="data"
            )
        if message.data:
            yield Piece(message.data, message.offset)
    raise broken_line(session)
