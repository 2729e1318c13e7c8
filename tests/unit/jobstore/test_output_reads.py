"""Outputs on their way through the job store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from balsam.errors import Unavailable
from balsam.serving import Caller
from balsam_jobstore.output_reads import OutputRead, Piece
from balsam_jobstore.sessions import LAUNCHER, Session

SESSION = Session("id", "", LAUNCHER, "here", 1, "ann", "1", 0, 1, "auto", "", "")


async def endless() -> AsyncIterator[Piece]:
    """What a launcher sends that is never done."""
    while True:
        yield Piece(b"x", 0)


def test_a_reader_is_told_where_the_answer_to_its_launcher_cannot_be_written() -> None:
    async def look() -> None:
        read = OutputRead(SESSION, Caller("ann", "owner"))
        taken = read.take(endless())
        assert await anext(taken) == 1
        await taken.aclose()  # as gRPC does when writing fails
        async with asyncio.timeout(20):
            with pytest.raises(Unavailable, match=r"the line to the launcher on here .* broke"):
                assert [piece.data async for piece in read.pieces()] == []

    asyncio.run(look())


def test_a_launcher_that_is_being_answered_when_the_reader_leaves_is_answered_to_the_end() -> None:
    """As gRPC does it: one task takes a number and writes it, and must not be cancelled while it writes."""

    async def look() -> None:
        read, written, answers = OutputRead(SESSION, Caller("ann", "owner")), asyncio.Event(), []

        async def answer() -> str:
            async for number in read.take(endless()):
                answers.append(number)
                await written.wait()
            return "answered"

        call = asyncio.create_task(answer())
        while not answers:
            await asyncio.sleep(0)
        read.close()
        written.set()
        assert await asyncio.wait_for(call, 20) == "answered"

    asyncio.run(look())
