"""What a launcher and a node agent say to each other: batches of small tuples, in length-prefixed frames.

The encoding is `marshal`: both ends are the same installation, started by one another, and it is the fastest there is.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

_LENGTH = struct.Struct("<I")


class Order:
    """First item of what a launcher sends."""

    START = 0
    """`Start`."""
    STOP = 1
    """run id, grace [s]: SIGTERM to its whole tree, SIGKILL to what is left after the grace."""
    TRUST = 2
    """end [s], grace [s]: the time in which the leases certainly live ends then, by this host's monotonic clock (which
    all its processes share). After it nothing is started, and what runs is stopped with that grace."""
    DROP = 3
    """run id: not to be started, if it has not been yet."""
    KILL = 4
    """The agent hangs: it is to be killed, with all that it runs. For who keeps it on another node."""
    LEAVE = 5
    """The launcher ends: so must the agent, and who keeps it on another node."""
    PING = 6
    """number of a question: answered with ALIVE at once, by who keeps the agent on another node."""
    READ = 7
    """number of a question, then the fields of an `OutputFile`, and an offset: answered with OUTPUT, by who keeps the
    agent on another node."""


class Notice:
    """First item of what an agent sends."""

    STARTED = 0
    """run id, pid, start time [µs]: comes only for runs that have lasted `agent.ANNOUNCE_SECONDS`."""
    ENDED = 1
    """run id, return code (-n: by signal n), start and end time [µs], why, whether it was stopped. Nothing is left."""
    REFUSED = 2
    """run id, exit code, time [µs], why: the run cannot be started."""
    DROPPED = 3
    """run id: it was stopped or dropped before it was started."""
    LOG = 4
    """A sentence for the launcher's log."""
    BEAT = 5
    """time [s] by the monotonic clock of the agent's host: a sign of life."""
    RUNS_LOST = 6
    """The agent has died, and another serves in its place: of the runs that it was told of nothing is left."""
    ALIVE = 7
    """number of a question: the node lived when this PING came."""
    OUTPUT = 8
    """number of a question, bytes, position of the first of them; or number, error number, why it cannot be read."""


class Start(NamedTuple):
    """What an agent is told to start."""

    order: int
    run_id: int
    argv: list[str]
    variables: dict[str, str]
    """Beside those of the agent's own environment."""
    directory: str
    """Absolute; made if it is not there."""
    output: str
    """Name of the file in it that takes stdout and stderr."""
    needs: str
    """A command that must exist though it is not the first word (an MPI run command stands there); or empty."""
    ignore_sigpipe: bool
    """Start it with SIGPIPE ignored."""
    share: float = 0.0
    """What it takes of the agent's node, more than 0 and at most 1: it starts when there is room, after those that were
    ordered before. 0: at once, the launcher keeps the books."""
    cores: tuple[int, ...] = ()
    """Numbers of the cores that it is bound to, of those that the agent may use, from 0; empty: it is not bound."""
    threads_per_core: int = 1
    """So many hardware threads of each of these."""
    root: str = ""
    """The directory that `directory` must lie in, by a path without links; empty: it may lie anywhere."""


def encode(messages: Sequence[tuple[Any, ...]]) -> bytes:
    """One frame."""
    body = marshal.dumps([tuple(message) for message in messages])
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Takes bytes as they come, gives the messages of every complete frame."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Any, ...]]:
        """The messages that are complete with `data`."""
        self._data += data
        while len(self._data) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._data)[0]
            if len(self._data) < end:
                return
            body = bytes(memoryview(self._data)[_LENGTH.size : end])
            del self._data[:end]
            yield from marshal.loads(body)
