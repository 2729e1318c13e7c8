"""Process trees of runs and scripts: finding every process of one, and ending them all.

A run is started in a session of its own. Its tree is the session, whatever descends from it, and what detached itself:
such a process is handed to the nearest subreaper above it, where it is known by the BALSAM_JOB_ID and BALSAM_ATTEMPT
in its environment. Linux only: everything is read from /proc.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from balsam.commands import ENV_ATTEMPT, ENV_JOB_ID

_PR_SET_CHILD_SUBREAPER = 36

_POLL_SECONDS = (0.005, 0.05)
_KILL_PATIENCE_SECONDS = 5.0


def become_subreaper() -> bool:
    """Orphans among this process's descendants become its children; False where the system does not know how."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> bool:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return bool(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table."""

    pid: int
    parent: int
    group: int
    session: int
    zombie: bool


class ProcessTable:
    """The processes of this host at one moment."""

    def __init__(self, processes: Iterable[Process]) -> None:
        self.by_pid: dict[int, Process] = {}
        self.sessions: dict[int, list[int]] = {}
        self._children: dict[int, list[int]] = {}
        self._marks: dict[int, tuple[str, int] | None] = {}
        for process in processes:
            self.by_pid[process.pid] = process
            self.sessions.setdefault(process.session, []).append(process.pid)
            self._children.setdefault(process.parent, []).append(process.pid)

    def children(self, pid: int) -> list[int]:
        """Pids of the children of a process."""
        return self._children.get(pid, [])

    def descendants(self, roots: Iterable[int]) -> list[int]:
        """`roots` and every process below them; a parent comes before what it has started."""
        found: dict[int, None] = {}
        ahead = list(roots)[::-1]
        while ahead:
            pid = ahead.pop()
            if pid not in found:
                found[pid] = None
                ahead.extend(reversed(self.children(pid)))
        return list(found)

    def mark(self, pid: int) -> tuple[str, int] | None:
        """`mark_of` a process, read once: who ends many trees asks for the same ones again and again."""
        if pid not in self._marks:
            self._marks[pid] = mark_of(pid)
        return self._marks[pid]

    def alive(self, pid: int) -> bool:
        """Whether it was there, and no zombie."""
        return pid in self.by_pid and not self.by_pid[pid].zombie


def process_table() -> ProcessTable:
    """All processes of this host. Costs some 20 µs for each of them."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    return ProcessTable(process for pid in pids if (process := read_process(pid)) is not None)


def read_process(pid: int) -> Process | None:
    """One process, or None if there is none with this pid."""
    stat = _read(f"/proc/{pid}/stat")
    # The command's name stands in brackets and may hold anything, brackets too.
    fields = stat.rpartition(b") ")[2].split(b" ", 5)
    if len(fields) < 5:
        return None
    return Process(pid, int(fields[1]), int(fields[2]), int(fields[3]), fields[0] in (b"Z", b"X"))


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        chunks = []
        while chunk := os.read(descriptor, 65536):
            chunks.append(chunk)
        return b"".join(chunks)
    except OSError:  # it ended, or is not ours
        return b""
    finally:
        os.close(descriptor)


def mark_of(pid: int) -> tuple[str, int] | None:
    """(job id, attempt) in the environment that a process was started with; None: not there, or not readable."""
    job_id, attempt = "", ""
    for variable in _read(f"/proc/{pid}/environ").split(b"\0"):
        name, _, value = variable.partition(b"=")
        if name == ENV_JOB_ID.encode():
            job_id = value.decode("utf-8", "replace")
        elif name == ENV_ATTEMPT.encode():
            attempt = value.decode("utf-8", "replace")
    return (job_id, int(attempt)) if job_id and attempt.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Tree:
    """The processes of one run or script.

    Attributes:
        pid: its first process, started as the leader of a session (``start_new_session=True``).
        job_id: with `attempt`, the mark of processes that detached themselves; empty: those are not looked for.
        attempt: BALSAM_ATTEMPT of the run or script.
    """

    pid: int
    job_id: str = ""
    attempt: int = 0

    def members(self, table: ProcessTable | None = None) -> list[int]:
        """Pids of its living processes (a zombie does not count), the first process first.

        So a shell hears of SIGTERM before the commands that it waits for have ended of it, and does not end with 0.

        Args:
            table: the process table, where the caller has it already.
        """
        table = process_table() if table is None else table
        roots = [self.pid, *table.sessions.get(self.pid, ())]
        if self.job_id:
            roots += self._detached(table)
        return [pid for pid in table.descendants(roots) if table.alive(pid)]

    def _detached(self, table: ProcessTable) -> list[int]:
        # An orphan's parent is this process, if it is a subreaper, else the system's first.
        orphans = [pid for adopter in {os.getpid(), 1} for pid in table.children(adopter)]
        mark = (self.job_id, self.attempt)
        return [pid for pid in orphans if table.by_pid[pid].session != self.pid and table.mark(pid) == mark]

    def signal(self, number: int, table: ProcessTable | None = None) -> int:
        """Sends a signal to all of it; returns how many processes it reached."""
        return send(self.members(table), number)


def send(pids: Iterable[int], number: int) -> int:
    """Sends a signal to processes that may have ended meanwhile; returns how many it reached."""
    reached = 0
    for pid in pids:
        try:
            os.kill(pid, number)
            if number == signal.SIGTERM:
                os.kill(pid, signal.SIGCONT)  # a stopped process would not hear of it
        except (ProcessLookupError, PermissionError):
            continue
        reached += 1
    return reached


def stop(tree: Tree, grace_seconds: float, *, sleep: Callable[[float], None] = time.sleep) -> list[int]:
    """Ends a tree: SIGTERM to all of it, SIGKILL to what is left after the grace. Blocks until nothing is left.

    The exit of its first process is left for the caller to collect.

    Returns:
        Pids that survived even SIGKILL (stuck in the kernel); nearly always empty.
    """
    tree.signal(signal.SIGTERM)
    if not gone(tree, grace_seconds, sleep):
        # What is left may be starting more: again and again, until nothing is there.
        give_up = time.monotonic() + _KILL_PATIENCE_SECONDS
        while tree.signal(signal.SIGKILL) and time.monotonic() < give_up:
            gone(tree, _POLL_SECONDS[1], sleep)
    return tree.members()


def gone(tree: Tree, seconds: float, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Waits until nothing of a tree is left; False: after `seconds` something is."""
    end = time.monotonic() + seconds
    pause = _POLL_SECONDS[0]
    while tree.members():
        left = end - time.monotonic()
        if left <= 0:
            return False
        sleep(min(pause, left))
        pause = min(pause * 2, _POLL_SECONDS[1])
    return True


def oom_kills() -> int:
    """How many processes the system has killed for lack of memory, in our control group or else on this host."""
    for path in _oom_files():
        for line in _read(path).splitlines():
            name, _, value = line.partition(b" ")
            if name == b"oom_kill" and value.strip().isdigit():
                return int(value)
    return 0


def _oom_files() -> list[str]:
    files = []
    for line in _read("/proc/self/cgroup").decode("utf-8", "replace").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            files.append(f"/sys/fs/cgroup{path.rstrip('/')}/memory.events")
        elif "memory" in controllers.split(","):
            files.append(f"/sys/fs/cgroup/memory{path.rstrip('/')}/memory.oom_control")
    return [*files, "/proc/vmstat"]
