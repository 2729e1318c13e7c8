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
        self.known = 0
        """Number of the last of our frames that the other end had when it made the frame that came last."""
        self.sent = 0
        """Number of the last frame that was made."""
        self._kept: deque[tuple[int, bytes]] = deque()  # number, frame as it was made
        self._data = bytearray()

    def frame(self, messages: Sequence[tuple[Any, ...]]) -> bytes:
        """The next frame; kept until the other end has it."""
        self.sent += 1
        frame = self._pack(messages, self.sent)
        self._kept.append((self.sent, frame))
        return frame

    def passing(self, messages: Sequence[tuple[Any, ...]]) -> bytes:
        """A frame that is not repeated when it gets lost: what it says would be out of date."""
        return self._pack(messages, 0)

    def _pack(self, messages: Sequence[tuple[Any, ...]], number: int) -> bytes:
        body = marshal.dumps([tuple(message) for message in messages])
        return _HEAD.pack(len(body), number, self.received) + body

    def resume(self, other_received: int) -> bytes:
        """On a new connection: all that the other end, which has frames up to a number, has not.

        Raises:
            Garbled: it says that it has what was never sent, or asks for what is not kept any more.
        """
        self._data.clear()
        self._forget(other_received)
        if other_received > self.sent or (self._kept and self._kept[0][0] > other_received + 1):
            raise Garbled(f"the other end has {other_received} frames of {self.sent}")
        return b"".join(frame for _, frame in self._kept)

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
            try:
                messages = marshal.loads(body)
            except (ValueError, EOFError, TypeError) as error:
                raise Garbled(f"frame {number} holds something else: {error}") from None
            self.received = number or self.received
            self.known = acknowledged
            yield from messages

    def _forget(self, acknowledged: int) -> None:
        while self._kept and self._kept[0][0] <= acknowledged:
            self._kept.popleft()
