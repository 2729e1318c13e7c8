"""Processes of this host, by their id: what they are, and a signal that cannot hit another one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path


def is_running(pid: int, module: str) -> bool:
    """Whether process `pid` is alive and was started as ``python -m MODULE`` (ids are used again)."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    # A process that has ended but was not reaped, as in containers without an init, is a zombie: Z.
    return state not in "ZX" and module.encode() in words


def is_child_of(pid: int, word: str) -> bool:
    """Whether the parent of process `pid` lives and has this word in its command line."""
    try:
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        return word.encode() in Path(f"/proc/{parent}/cmdline").read_bytes().split(b"\0")
    except (OSError, IndexError):
        return False


def stop(pid: int, module: str, grace_seconds: float) -> bool:
    """Ends process `pid` of `module`: SIGTERM, and SIGKILL when it is still there after the grace.

    Returns whether SIGKILL was needed. A process that is not there is no error.
    """
    with _handle(pid, module) as handle:
        if handle is None:
            return False
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if _ended(handle, grace_seconds):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        _ended(handle, grace_seconds)
        return True
    return False


def kill(pid: int, module: str, patience_seconds: float = 10.0) -> bool:
    """SIGKILL for process `pid` of `module`; returns, when it has ended, whether it was there to be killed."""
    with _handle(pid, module) as handle:
        if handle is None:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return _ended(handle, patience_seconds)
    return False


@contextlib.contextmanager
def _handle(pid: int, module: str) -> Iterator[int | None]:
    """A handle of a process, with which its id cannot come to mean another; None: it is not there.

    A process that ends meanwhile ends the block.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    with contextlib.suppress(ProcessLookupError):
        try:
            yield handle if is_running(pid, module) else None
        finally:
            os.close(handle)


def _ended(handle: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
