"""What is left below a process when those are gone who should have ended it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection

from balsam.processes import process_table, send

_KILL_SECONDS = 2.0

KEPT: set[int] = set()
"""Children of this process that are no agent's, beside those that are named."""


def kill_leftovers(keep: Collection[int]) -> int:
    """Kills every process below this one, collects the exits of those that are its children; returns how many.

    For a subreaper above a node agent that has died: the agent's runs have become its own children. Blocks until they
    are gone, at most two seconds.

    Args:
        keep: children that are none of the agent's.
    """
    killed: set[int] = set()
    give_up = time.monotonic() + _KILL_SECONDS
    while time.monotonic() < give_up:
        table = process_table()
        children = [pid for pid in table.children(os.getpid()) if pid not in keep and pid not in KEPT]
        if not children:
            break
        alive = [pid for pid in table.descendants(children) if table.alive(pid)]
        killed.update(alive)
        send(alive, signal.SIGKILL)
        for pid in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.002)
    return len(killed)


def kill_marked(variable: str, value: str) -> int:
    """Kills every process of ours on this host that was started with a variable of this value; returns how many.

    For what a process that is gone has left, where nobody above it is there to see it. Blocks until they are gone, at
    most two seconds.
    """
    killed: set[int] = set()
    give_up = time.monotonic() + _KILL_SECONDS
    while (found := _marked(f"{variable}={value}".encode())) and time.monotonic() < give_up:
        killed.update(found)
        send(found, signal.SIGKILL)
        time.sleep(0.01)
    return len(killed)


def _marked(mark: bytes) -> list[int]:
    table = process_table()
    return [pid for pid in table.by_pid if table.alive(pid) and mark in _environment(pid)]


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:  # it has ended, or is somebody else's
        return []
