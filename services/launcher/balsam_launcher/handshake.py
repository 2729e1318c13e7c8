"""How a launcher and the agent of another node make sure of each other, before either believes what the other says.

Both have a secret that the launcher has made, and that reached the node in the environment of what started the agent.
Each proves that it has it by a MAC over both ends' random numbers (HMAC, RFC 2104); the secret itself is never sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import struct
from dataclasses import dataclass

_MAGIC = b"balsam-node-1\n"
_NONCE_BYTES = 16
_MAC_BYTES = 32
_HELLO = struct.Struct("<I16s")
_COUNT = struct.Struct("<Q")
_VERDICT = struct.Struct("<BQd")

ACCEPTED = 1
STALE = 2
"""The launcher has given up this agent and all that it ran: it must end that, and come anew."""


REPLACED = 3
"""Another agent serves on its node by now: it must end, and come no more."""


class NotOurs(Exception):
    """The other end does not speak this, or does not have the secret."""


@dataclass(frozen=True)
class Hello:
    """What an agent says of itself.

    Attributes:
        node: the number of its node, from 0.
        incarnation: 16 random bytes, new with every process.
        received: frames that it has had from the launcher.
    """

    node: int
    incarnation: bytes
    received: int


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes, hello: Hello
) -> tuple[int, int, float]:
    """The agent's side.

    Returns:
        ACCEPTED, STALE or REPLACED; the frames that the launcher has had from this agent; how often to give a sign of
        life [s].

    Raises:
        NotOurs: this is not our launcher.
        OSError, EOFError: the connection broke.
    """
    ours, said = secrets.token_bytes(_NONCE_BYTES), _HELLO.pack(hello.node, hello.incarnation)
    writer.write(_MAGIC + ours + said)
    theirs = await reader.readexactly(_NONCE_BYTES)
    proof = await reader.readexactly(_MAC_BYTES)
    if not hmac.compare_digest(proof, _mac(secret, b"launcher", ours, theirs, said)):
        raise NotOurs("whoever listens there is not our launcher")
    writer.write(_mac(secret, b"agent", ours, theirs, said) + _COUNT.pack(hello.received))
    verdict, received, beat_seconds = _VERDICT.unpack(await reader.readexactly(_VERDICT.size))
    return verdict, received, beat_seconds


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes) -> Hello:
    """The launcher's side, up to its verdict.

    Raises:
        NotOurs: this is none of our agents.
        OSError, EOFError: the connection broke.
    """
    if await reader.readexactly(len(_MAGIC)) != _MAGIC:
        raise NotOurs("it speaks something else")
    theirs = await reader.readexactly(_NONCE_BYTES)
    said = await reader.readexactly(_HELLO.size)
    ours = secrets.token_bytes(_NONCE_BYTES)
    writer.write(ours + _mac(secret, b"launcher", theirs, ours, said))
    proof = await reader.readexactly(_MAC_BYTES)
    if not hmac.compare_digest(proof, _mac(secret, b"agent", theirs, ours, said)):
        raise NotOurs("it does not have the secret")
    (received,) = _COUNT.unpack(await reader.readexactly(_COUNT.size))
    node, incarnation = _HELLO.unpack(said)
    return Hello(node, incarnation, received)


def verdict(accepted: int, received: int, beat_seconds: float) -> bytes:
    """What the launcher answers."""
    return _VERDICT.pack(accepted, received, beat_seconds)


def _mac(secret: bytes, who: bytes, agents: bytes, launchers: bytes, said: bytes) -> bytes:
    return hmac.digest(secret, who + agents + launchers + said, hashlib.sha256)
