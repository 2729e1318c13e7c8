"""Launcher and agent believe each other only if both have the secret."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from balsam_launcher.handshake import ACCEPTED, Hello, NotOurs, answer, ask, verdict

SECRET, OTHER = b"s" * 32, b"o" * 32
HELLO = Hello(node=3, incarnation=b"i" * 16, received=7)


async def meet(
    agents: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]], launchers_secret: bytes = SECRET
) -> tuple[object, object]:
    """What came of both ends: a result, or the error."""
    said: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def launcher(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            hello = await answer(reader, writer, launchers_secret)
            writer.write(verdict(ACCEPTED, 5, 0.5))
            said.set_result(hello)
        except (NotOurs, EOFError) as error:
            said.set_result(error)
        finally:
            writer.close()

    server = await asyncio.start_server(launcher, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            ours: object = await agents(reader, writer)
        except (NotOurs, EOFError) as error:
            ours = error
        writer.close()
        return ours, await said


def test_both_believe_each_other_and_say_what_they_have() -> None:
    ours, theirs = asyncio.run(meet(lambda reader, writer: ask(reader, writer, SECRET, HELLO)))
    assert ours == (ACCEPTED, 5, 0.5)
    assert theirs == HELLO


def test_a_launcher_without_the_secret_is_not_believed() -> None:
    ours, theirs = asyncio.run(meet(lambda reader, writer: ask(reader, writer, SECRET, HELLO), OTHER))
    assert isinstance(ours, NotOurs)
    assert isinstance(theirs, EOFError)  # it is told nothing more


def test_an_agent_without_the_secret_is_not_believed() -> None:
    async def forge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"balsam-node-1\n" + b"n" * 16 + b"\x03\0\0\0" + b"i" * 16)
        await reader.readexactly(16 + 32)
        writer.write(b"x" * 32 + b"\0" * 8)
        await reader.readexactly(1)

    ours, theirs = asyncio.run(meet(forge))
    assert isinstance(ours, EOFError)
    assert isinstance(theirs, NotOurs)


def test_what_speaks_something_else_is_sent_away() -> None:
    async def browse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.readexactly(1)

    ours, theirs = asyncio.run(meet(browse))
    assert isinstance(ours, EOFError)
    assert isinstance(theirs, NotOurs)


@pytest.mark.parametrize("field", ["node", "incarnation"])
def test_what_an_agent_says_of_itself_is_part_of_the_proof(field: str) -> None:
    """Somebody between them who changes it is found out."""
    other = {"node": Hello(4, HELLO.incarnation, 7), "incarnation": Hello(3, b"j" * 16, 7)}[field]

    async def changed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> object:
        class Between:
            def __init__(self) -> None:
                self.first = True

            def write(self, data: bytes) -> None:
                said = HELLO.node.to_bytes(4, "little") + HELLO.incarnation
                swapped = other.node.to_bytes(4, "little") + other.incarnation
                writer.write(data.replace(said, swapped) if self.first else data)
                self.first = False

        return await ask(reader, Between(), SECRET, HELLO)  # type: ignore[arg-type]

    ours, _ = asyncio.run(meet(changed))
    assert isinstance(ours, NotOurs)
