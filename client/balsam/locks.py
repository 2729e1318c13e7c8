"""One process a service and site: a lock that ends with its holder, and says who that is."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from balsam.errors import SiteError

_PATIENCE_SECONDS = 0.3
"""Somebody who only asks who holds a lock has it for a moment."""
_HOLDER = re.compile(r"pid (\d+) on (\S+)\n")


@dataclass(frozen=True)
class Holder:
    """Who holds a lock; pid 0 and no host: it has not said so yet."""

    pid: int = 0
    host: str = ""


class ServiceLock:
    """A lock that ends with the process that took it, however that ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def acquire(self, service: str) -> None:
        """Takes the lock of a service.

        Raises:
            SiteError: another process holds it (says which), or there is no room to say that we do.
        """
        self.take(f"the {service} of this site runs already")

    def take(self, refusal: str, more: str = "") -> None:
        """Takes the lock; `more` is added to who we are.

        Raises:
            SiteError: another process holds it (`refusal`, and who that is), or there is no room to say that we do.
        """
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not _take(self._descriptor):
            if time.monotonic() > deadline:
                text = _text(self._descriptor).strip() or "another process"
                os.close(self._descriptor)
                raise SiteError(f"{refusal} ({text})", reason="ALREADY_RUNNING")
            time.sleep(0.01)
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"pid {os.getpid()} on {socket.gethostname()}{more}\n".encode(), 0)
        except OSError as error:
            raise SiteError(f"cannot write {self.path}: {error.strerror}; make room there and try again") from None


def holder(path: Path) -> Holder | None:
    """Who holds a lock; None: nobody."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        if _take(descriptor):
            return None
        said = _HOLDER.fullmatch(_text(descriptor))
        return Holder(int(said[1]), said[2]) if said else Holder()
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _text(descriptor: int) -> str:
    return os.pread(descriptor, 4000, 0).decode("utf-8", "replace")
