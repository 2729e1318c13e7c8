"""The guard, as the scheduler has it: started with the scheduler, and told what runs."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

from balsam.processes import Tree

log = logging.getLogger("balsam.scheduler")

LOCK_FILE = "scheduler-guard.lock"
_PATIENCE_SECONDS = 15.0


class Guard:
    """A process that ends the scheduler's programs when the scheduler is killed; see `balsam_scheduler.guard`.

    Args:
        lock: a file that the guard holds locked as long as it lives; None: nobody waits for its end.
    """

    def __init__(self, lock: Path | None = None) -> None:
        lock_file = [os.fspath(lock)] if lock is not None else []
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "balsam_scheduler.guard", str(os.getpid()), *lock_file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    async def ready(self) -> bool:
        """Waits until nothing of a scheduler before us runs any more; False: it takes too long."""
        assert self._process.stdout is not None
        loop, spoken = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._process.stdout, spoken.set)
        try:
            await asyncio.wait_for(spoken.wait(), _PATIENCE_SECONDS)
            return bool(self._process.stdout.readline())
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._process.stdout)

    def add(self, tree: Tree) -> None:
        """Says that a program runs, or (pid 0) is about to be started."""
        self._say(f"+ {tree.pid} {tree.job_id} {tree.attempt}\n")

    def remove(self, tree: Tree) -> None:
        """Says that nothing is left of it."""
        self._say(f"- {tree.pid} {tree.job_id} {tree.attempt}\n")

    def trust(self, until: float) -> None:
        """Says how long this process may work, by the monotonic clock; then, unless it has said more, it is killed."""
        self._say(f"! {until}\n")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            # One write: lines of many threads do not mix.
            os.write(self._process.stdin.fileno(), line.encode())
        except OSError as error:
            log.warning("the guard is gone, scripts would outlive a killed scheduler: %s", error.strerror)

    def close(self) -> None:
        """Ends the guard."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:  # it still waits for the guard before it
            self._process.kill()
            self._process.wait()
