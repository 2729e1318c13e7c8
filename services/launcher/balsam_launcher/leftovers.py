"""What is left below a process when those are gone who should have ended it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection

from balsam.processes import process_table, send

_KILL_SECONDS = 2.0


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
        children = [pid for pid in table.children(os.getpid()) if pid not in keep]
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
