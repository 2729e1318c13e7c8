"""The guard: a small process that ends the scheduler's programs when the scheduler itself is killed.

It hears over a pipe what runs. The pipe closes when the scheduler ends, in whatever way; what runs then is killed at
once, with all that it has started. A lock tells the next scheduler when that is done. It may hear until when the
scheduler may work, too, and kills it then: also one that was stopped, or hangs, and whose jobs others may have soon.
See `balsam_scheduler.guarding`.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import signal
import sys
import time
from collections.abc import Iterator

from balsam import processes
from balsam.processes import ProcessTable, Tree

_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 5.0
_LOOKS = 3  # that find nothing: what was being started at the last moment shows its mark a little later


def main() -> None:
    """The guard's process."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the scheduler, and not before
    scheduler = int(sys.argv[1])
    with _locked(sys.argv[2:]):
        with contextlib.suppress(BrokenPipeError):  # it may be dead already: then there is the more to do
            os.write(sys.stdout.fileno(), b"ready\n")
        trees: dict[tuple[str, int], Tree] = {}
        for sign, pid, job_id, attempt in _heard(scheduler):
            tree = Tree(int(pid), job_id, int(attempt))
            if sign == "+":
                trees[job_id, tree.attempt] = tree
            else:
                trees.pop((job_id, tree.attempt), None)
        kill_all(list(trees.values()))


@contextlib.contextmanager
def _locked(files: list[str]) -> Iterator[None]:
    with contextlib.ExitStack() as opened:
        for file in files:
            fcntl.flock(opened.enter_context(open(file, "w")), fcntl.LOCK_EX)
        yield


def _heard(scheduler: int) -> Iterator[list[str]]:
    """What is said of programs, until the scheduler ends, by itself or since its time is over."""
    pipe, rest, until = sys.stdin.fileno(), b"", math.inf
    while True:
        patience = None if until == math.inf else max(0.0, until - time.monotonic())
        if not select.select([pipe], [], [], patience)[0]:
            if os.getppid() == scheduler:
                os.kill(scheduler, signal.SIGKILL)
            return
        said = os.read(pipe, 1 << 16)
        if not said:
            return
        *lines, rest = (rest + said).split(b"\n")
        for words in (line.decode().split() for line in lines):
            if words[0] == "!":
                until = float(words[1])
            else:
                yield words


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
