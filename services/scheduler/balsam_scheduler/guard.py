"""The guard: a small process that ends the scheduler's programs when the scheduler itself is killed.

It hears over a pipe what runs. The pipe closes when the scheduler ends, in whatever way; what runs then is killed at
once, with all that it has started. A lock tells the next scheduler when that is done. See `balsam_scheduler.guarding`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time

from balsam import processes
from balsam.processes import ProcessTable, Tree

_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 5.0
_LOOKS = 3  # that find nothing: what was being started at the last moment shows its mark a little later


def main() -> None:
    """The guard's process."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the scheduler, and not before
    with open(sys.argv[1], "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(BrokenPipeError):  # it may be dead already: then there is the more to do
            os.write(sys.stdout.fileno(), b"ready\n")
        trees: dict[tuple[str, int], Tree] = {}
        for line in sys.stdin:
            sign, pid, job_id, attempt = line.split()
            tree = Tree(int(pid), job_id, int(attempt))
            if sign == "+":
                trees[job_id, tree.attempt] = tree
            else:
                trees.pop((job_id, tree.attempt), None)
        kill_all(list(trees.values()))


def kill_all(trees: list[Tree]) -> None:
    """Kills everything in the trees, and what detached itself from them, wherever that is now."""
    give_up = time.monotonic() + _PATIENCE_SECONDS
    looks = _LOOKS if trees else 0
    while looks and time.monotonic() < give_up:
        living = _living(trees, processes.process_table())
        looks = _LOOKS if living else looks - 1
        processes.send(living, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)


def _living(trees: list[Tree], table: ProcessTable) -> list[int]:
    marks = {(tree.job_id, tree.attempt) for tree in trees}
    roots = [pid for pid in table.by_pid if processes.mark_of(pid) in marks]
    for tree in trees:
        if tree.pid:
            roots += tree.members(table)
    return [pid for pid in table.descendants(roots) if table.alive(pid) and pid != os.getpid()]


if __name__ == "__main__":
    main()
