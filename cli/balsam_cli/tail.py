"""Files that grow."""

from __future__ import annotations

import codecs
import os
import select
import sys
from pathlib import Path
from typing import IO

from balsam.outputs import OutputFile, first_byte

POLL_SECONDS = 0.1
"""A file on a network file system tells nobody that it has grown: it is looked at so often."""
_CHUNK = 1 << 20


class Tail:
    """A file from an offset on, as it grows; it may not exist yet, be truncated, or be replaced by a new one."""

    def __init__(self, file: Path | OutputFile, offset: int = 0) -> None:
        self.file = file
        self.offset = offset
        """Of the next byte; negative: so many before the end of what there is."""
        self.is_there = False
        """Whether there was a file at the last look."""
        self._inode = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self) -> bytes:
        """What has come since the last call, at most a megabyte."""
        self.is_there = False
        try:
            with _opened(self.file) as file:
                now = os.fstat(file.fileno())
                is_new = self._inode not in (0, now.st_ino)
                self.offset = 0 if is_new else first_byte(self.offset, now.st_size)
                self._inode = now.st_ino
                file.seek(self.offset)
                data = file.read(_CHUNK)
        except FileNotFoundError:
            return b""
        self.is_there = True
        self.offset += len(data)
        return data

    def text(self) -> str:
        """The same as text."""
        return self._decoder.decode(self.read())


def wait_for_more() -> None:
    """Waits until it is time to look again.

    Raises:
        BrokenPipeError: nobody reads our output any more, which a write would tell only when there is more.
    """
    poll = select.poll()
    poll.register(sys.stdout, 0)
    if poll.poll(POLL_SECONDS * 1000):
        raise BrokenPipeError


def _opened(file: Path | OutputFile) -> IO[bytes]:
    """A plain file, to read it; no link is followed, and no pipe waited for. Raises OSError."""
    found = file if isinstance(file, OutputFile) else OutputFile(os.fspath(file.parent), file.name)
    return os.fdopen(found.open(), "rb")


def last_lines(file: Path, count: int) -> str:
    """The last `count` lines of a file, read from its end."""
    size = file.stat().st_size
    data = b""
    with _opened(file) as source:
        at = size
        while at > 0 and data.count(b"\n") <= count:
            step = min(at, 65536)
            at -= step
            source.seek(at)
            data = source.read(step) + data
    lines = data.decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-count:]) if count else ""
