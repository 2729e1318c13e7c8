"""Outputs on their way from a launcher to who reads them. Nothing is kept: of each, one piece waits here at most."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from balsam.errors import BalsamError, NotFound, ResourceExhausted, Unavailable
from balsam.serving import Caller
from balsam_jobstore.sessions import Session

T = TypeVar("T")

MOST = 100
"""Outputs that are read at once by way of one job store."""
MOST_OF_ONE = 20
"""Of these, so many by one caller, and so many from one launcher."""
ANSWER_SECONDS = 10.0
"""A launcher begins to send within this time [s]."""


@dataclass(frozen=True)
class Piece:
    """Some bytes of an output, and the position of the first of them."""

    data: bytes
    offset: int


class OutputRead:
    """One output that somebody reads. Lives in the loop.

    Args:
        session: the launcher's.
        caller: who reads.
    """

    def __init__(self, session: Session, caller: Caller) -> None:
        self.read_id = str(uuid.uuid4())
        self.session = session
        self.caller = caller
        self._pieces: asyncio.Queue[Piece | BalsamError | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(1)
        self._began = asyncio.Event()
        self._over = asyncio.Event()

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """What the launcher sends, until it has sent all.

        Raises:
            NotFound: NO_OUTPUT, with the launcher's words.
            Unavailable: it does not answer, or its line broke.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._began.wait()
        except TimeoutError:
            raise Unavailable(f"the {self.session.label} does not send the output; try again, or see its log") from None
        while (piece := await self._pieces.get()) is not None:
            if isinstance(piece, BalsamError):
                raise piece
            self._room.release()
            yield piece

    async def take(self, pieces: AsyncIterator[Piece]) -> AsyncGenerator[int, None]:
        """Takes what the launcher sends, none faster than it is read, and gives the number of each when it is taken.

        Ends with them, or when nobody reads it any more.

        Raises:
            NotFound: it is being sent already.
            BalsamError: what `pieces` raises, which the reader is told.
        """
        if self._began.is_set():
            raise NotFound("this output is being sent already", field="read_id")
        self._began.set()
        last: BalsamError | None = broken_line(self.session)
        try:
            number = 0
            while (piece := await self._while_read(anext(pieces, None))) is not None:
                if not await self._while_read(self._room.acquire()):
                    break
                self._pieces.put_nowait(piece)
                number += 1
                yield number
            last = None
        except BalsamError as error:
            last = error
            raise
        finally:  # also where the answer cannot be written: gRPC then closes this, or forgets it
            self._pieces.put_nowait(last)

    async def _while_read(self, wanted: Awaitable[T]) -> T | None:
        """Waits for something; None as soon as nobody reads any more.

        The task of the call is not cancelled for that: where gRPC is just writing, the call would never be answered.
        """
        waits = [asyncio.ensure_future(wanted), asyncio.ensure_future(self._over.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return waits[0].result() if waits[0].done() else None
        finally:
            for wait in waits:
                wait.cancel()

    def close(self) -> None:
        """Nobody reads it any more: its sender is let go."""
        self._over.set()


def broken_line(session: Session) -> Unavailable:
    """The error where a launcher has not sent all, and sends no more."""
    return Unavailable(f"the line to the {session.label} broke; try again")


class OutputReads:
    """All that are read by way of this job store."""

    def __init__(self) -> None:
        self._reads: dict[str, OutputRead] = {}

    @contextlib.contextmanager
    def one(self, session: Session, caller: Caller) -> Iterator[OutputRead]:
        """One, as long as it is read.

        Raises:
            ResourceExhausted: too many are.
        """
        key = (caller.user_key, caller.job_key)
        self._check(len(self._reads), MOST, "outputs are")
        mine = self._count(lambda read: (read.caller.user_key, read.caller.job_key) == key)
        self._check(mine, MOST_OF_ONE, f"outputs for {caller.user} are")
        of_session = self._count(lambda read: read.session.key == session.key)
        self._check(of_session, MOST_OF_ONE, f"outputs from the {session.label} are")
        read = OutputRead(session, caller)
        self._reads[read.read_id] = read
        try:
            yield read
        finally:
            del self._reads[read.read_id]
            read.close()

    def get(self, read_id: str, session: Session) -> OutputRead:
        """The one of this id that is asked of this session.

        Raises:
            NotFound: nobody reads it any more.
        """
        read = self._reads.get(read_id)
        if read is None or read.session.key != session.key:
            raise NotFound("nobody reads this output any more", field="read_id")
        return read

    def _count(self, counts: Callable[[OutputRead], bool]) -> int:
        return sum(map(counts, self._reads.values()))

    def _check(self, there: int, most: int, what: str) -> None:
        if there >= most:
            raise ResourceExhausted(f"{there} {what} being read through the job store, which is the limit; close some")
