"""Files that grow."""

from __future__ import annotations

import codecs
import errno
import os
import stat
import time
from pathlib import Path
from typing import IO

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
            with _opened(self.file) as file:
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


def _opened(file: Path) -> IO[bytes]:
    """A plain file, to read it: nobody waits for the other end of a pipe that a job has put there.

    Raises:
        OSError: it is none, or cannot be read.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no plain file", os.fspath(file))
    return os.fdopen(descriptor, "rb")


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
