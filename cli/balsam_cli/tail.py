"""Files that grow."""

from __future__ import annotations

import codecs
import os
import time
from pathlib import Path

POLL_SECONDS = 0.1
"""A file on a network file system tells nobody that it has grown: it is looked at so often."""
_CHUNK = 1 << 20


class Tail:
    """A file from an offset on, as it grows; it may not exist yet, be truncated, or be replaced by a new one."""

    def __init__(self, file: Path, offset: int = 0) -> None:
        self.file = file
        self._offset = offset
        self._inode = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self) -> bytes:
        """What has come since the last call, at most a megabyte."""
        try:
            with open(self.file, "rb") as file:
                now = os.fstat(file.fileno())
                if now.st_size < self._offset or self._inode not in (0, now.st_ino):
                    self._offset = 0
                self._inode = now.st_ino
                file.seek(self._offset)
                data = file.read(_CHUNK)
        except FileNotFoundError:
            return b""
        self._offset += len(data)
        return data

    def text(self) -> str:
        """The same as text."""
        return self._decoder.decode(self.read())

    @staticmethod
    def wait() -> None:
        """Sleeps until it is time to look again."""
        time.sleep(POLL_SECONDS)


def last_lines(file: Path, count: int) -> str:
    """The last `count` lines of a file, read from its end."""
    size = file.stat().st_size
    data = b""
    with open(file, "rb") as source:
        at = size
        while at > 0 and data.count(b"\n") <= count:
            step = min(at, 65536)
            at -= step
            source.seek(at)
            data = source.read(step) + data
    lines = data.decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-count:]) if count else ""
