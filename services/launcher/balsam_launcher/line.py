"""A line between two processes that outlives its connections. No I/O.

Messages go in numbered frames. Each end keeps what it sent until the other has it, and takes each frame once: after an
interruption both say what they have, and send again what the other has not. So nothing is lost or doubled as long as
both processes live.
"""

from __future__ import annotations

import marshal
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

_HEAD = struct.Struct("<IQQ")
"""Bytes of the body; number of the frame, 0 for one that is not repeated; the last number that the sender has."""

MOST_BYTES = 1 << 26
"""No frame is larger: whoever says so speaks something else."""


class Garbled(Exception):
    """What came is no frame, or not the next one."""


class Line:
    """One end."""

    def __init__(self) -> None:
        self.received = 0
        """Number of the last frame that came."""
        self.acknowledged = 0
        """Number of the last frame that the other end is known to have."""
        self.sent = 0
        """Number of the last frame that was made."""
        self._kept: deque[tuple[int, bytes]] = deque()
        self._data = bytearray()

    def frame(self, messages: Sequence[tuple[Any, ...]]) -> bytes:
        """The next frame; kept until the other end has it."""
        self.sent += 1
        body = marshal.dumps([tuple(message) for message in messages])
        self._kept.append((self.sent, body))
        return _HEAD.pack(len(body), self.sent, self.received) + body

    def passing(self, messages: Sequence[tuple[Any, ...]]) -> bytes:
        """A frame that is not repeated when it gets lost: what it says would be out of date."""
        body = marshal.dumps([tuple(message) for message in messages])
        return _HEAD.pack(len(body), 0, self.received) + body

    def resume(self, other_received: int) -> bytes:
        """On a new connection: all that the other end, which has frames up to a number, has not.

        Raises:
            Garbled: it says that it has what was never sent, or asks for what is not kept any more.
        """
        self._data.clear()
        self._forget(other_received)
        if other_received > self.sent or (self._kept and self._kept[0][0] > other_received + 1):
            raise Garbled(f"the other end has {other_received} frames of {self.sent}")
        return b"".join(_HEAD.pack(len(body), number, self.received) + body for number, body in self._kept)

    def feed(self, data: bytes) -> Iterator[tuple[Any, ...]]:
        """The messages of the frames that are complete with `data`, each once.

        Raises:
            Garbled: this is no frame, or one is missing.
        """
        self._data += data
        while len(self._data) >= _HEAD.size:
            length, number, acknowledged = _HEAD.unpack_from(self._data)
            if length > MOST_BYTES:
                raise Garbled(f"a frame of {length} bytes")
            end = _HEAD.size + length
            if len(self._data) < end:
                return
            body = bytes(memoryview(self._data)[_HEAD.size : end])
            del self._data[:end]
            self._forget(acknowledged)
            if number > self.received + 1:
                raise Garbled(f"frame {number} came after {self.received}")
            if number and number <= self.received:
                continue  # sent again, and here already
            self.received = number or self.received
            yield from marshal.loads(body)

    def _forget(self, acknowledged: int) -> None:
        self.acknowledged = max(self.acknowledged, acknowledged)
        while self._kept and self._kept[0][0] <= acknowledged:
            self._kept.popleft()
