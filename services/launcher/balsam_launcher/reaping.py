"""Runs that live in an agent: how they end, whatever they leave behind, and how they are ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from balsam import failpoints
from balsam.processes import ProcessTable, Tree, mark_of, process_table, send

_POLL_SECONDS = 0.02
_SCAN_SECONDS = 0.5
# Looking for strays reads the whole process table: it may take so small a share of the time and no more, however many
# processes the host has; a larger one while the end of a run waits for it.
_SCAN_SHARE = 0.02
_URGENT_SCAN_SHARE = 0.05
_NAMELESS_SECONDS = 0.1
_KILL_PATIENCE_SECONDS = 5.0
_SWEEP_SECONDS = 2.0
_NEVER = float("inf")
_CHILDREN = "/proc/thread-self/children"
_LIST_BYTES = 1 << 16


@dataclass(slots=True, eq=False)
class Run:
    """One started run."""

    run_id: int
    pid: int
    began: float
    """By the monotonic clock."""
    start_us: int
    directory: str
    output: str
    output_start: int
    """Size of its output file before it began [bytes]."""
    mark: tuple[str, int]
    """Job id and attempt."""
    share: float = 0.0
    """What it takes of the agent's node; 0: not counted here."""
    returncode: int = 0
    end_us: int = 0
    over: bool = False
    """Its first process has ended."""
    stop_at: float | None = None
    """It is being stopped: SIGKILL from then on."""
    stopped: bool = False
    """Its first process was alive when it was told to stop."""

    @property
    def tree(self) -> Tree:
        """Its processes."""
        return Tree(self.pid, *self.mark)


class Reaper:
    """Every run of an agent, from its start to the end of the last process of it.

    Args:
        on_end: called once for each run, when nothing of it is left.
    """

    def __init__(self, on_end: Callable[[Run], None]) -> None:
        self._on_end = on_end
        self._children = _Children()
        self._runs: dict[int, Run] = {}  # by pid of the first process
        self._by_id: dict[int, Run] = {}
        self._stopping: dict[int, Run] = {}  # by run id, also those whose first process has ended
        self._lingering: list[Run] = []  # over, with a process of their group that is dying
        self._unsure: list[Run] = []  # over, to be looked for strays before their end is told
        self._strays: dict[int, frozenset[int]] = {}  # adopted process -> runs that it may belong to
        self._nameless: dict[int, float] = {}  # adopted process whose environment told nothing -> since when
        self._last_scan = 0.0
        self._scan_cost = 0.0
        self._scan_wanted = False
        self._next_poll = _NEVER

    @property
    def busy(self) -> bool:
        """Whether a run is left."""
        return bool(self._by_id)

    def due(self) -> float:
        """When `tend` should be called next, by the monotonic clock."""
        return min(self._next_poll, self._next_scan())

    def add(self, run: Run) -> None:
        """Takes a run that was just started."""
        self._runs[run.pid] = run
        self._by_id[run.run_id] = run

    # Ends

    def collect(self) -> None:
        """Collects every exit there is; never waits."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                self._nothing_left()
                return
            if found is None:
                return
            run = self._runs.pop(found.si_pid, None)
            if run is None:
                os.waitpid(found.si_pid, 0)  # an orphan of some run
                self._strays.pop(found.si_pid, None)
            else:
                self._collect_run(run)

    def _collect_run(self, run: Run) -> None:
        if run.stop_at is None:
            # As long as its exit is not collected, its number stands for its group and for no other.
            _kill_group(run.pid)
        _, status = os.waitpid(run.pid, 0)
        failpoints.hit("agent.after-reap")
        run.returncode = os.waitstatus_to_exitcode(status)
        run.end_us = run.start_us + int((time.monotonic() - run.began) * 1e6)
        run.over = True
        self._scan_wanted = True
        if run.stop_at is not None:
            self._next_poll = 0.0  # its others have their grace still
        elif _group_exists(run.pid):
            self._lingering.append(run)
            self._next_poll = 0.0
        elif run.returncode != 0 or self._may_have_left(run):
            self._unsure.append(run)  # what comes next of its job may begin soon: nothing may be left of this
        else:
            self._finish(run)

    def _may_have_left(self, run: Run) -> bool:
        """Whether a process that came to us may be of this run. Looks at our own children only, which is cheap."""
        children = self._children.pids()
        if children is None:
            return True
        return any(run.run_id in self._owners(pid) for pid in children if pid not in self._runs)

    def _nothing_left(self) -> None:
        """This process has no child, so there is neither a stray nor need to look for one."""
        self._strays.clear()
        self._nameless.clear()
        self._scan_wanted = False
        self._release_unsure([])

    def _finish(self, run: Run) -> None:
        del self._by_id[run.run_id]
        self._on_end(run)

    # Stops

    def stop(self, graces: dict[int, float]) -> None:
        """SIGTERM to the trees of these runs; SIGKILL to what is left after so many seconds."""
        runs = [(self._by_id[run_id], grace) for run_id, grace in graces.items() if run_id in self._by_id]
        if not runs:
            return
        table = process_table()
        now = time.monotonic()
        for run, grace in runs:
            if run.stop_at is None:
                run.stopped = not run.over
                run.tree.signal(signal.SIGTERM, table)
            # A second stop shortens the grace, and never lengthens it.
            run.stop_at = now + grace if run.stop_at is None else min(run.stop_at, now + grace)
            self._stopping[run.run_id] = run
        self._lingering = [run for run in self._lingering if run.stop_at is None]
        self._unsure = [run for run in self._unsure if run.stop_at is None]
        self._next_poll = min(self._next_poll, now + _POLL_SECONDS)

    def stop_all(self, grace: float) -> None:
        """`stop` for every run."""
        self.stop(dict.fromkeys(self._by_id, grace))

    def sweep(self) -> None:
        """Kills every process that is left below this one. Blocks, but not for ever."""
        give_up = time.monotonic() + _SWEEP_SECONDS
        while time.monotonic() < give_up:
            self.collect()
            table = process_table()
            left = table.descendants(table.children(os.getpid()))
            if not send([pid for pid in left if table.alive(pid)], signal.SIGKILL):
                return
            time.sleep(0.01)

    # What takes time

    def tend(self) -> None:
        """Goes on with what is due: runs being stopped, leftovers, strays."""
        now = time.monotonic()
        if now >= self._next_poll:
            self._poll(now)
        if now >= self._next_scan():
            self._scan(now)

    def _poll(self, now: float) -> None:
        self._lingering = [run for run in self._lingering if not self._settled(run)]
        if self._stopping:
            table = process_table()
            for run in list(self._stopping.values()):
                self._pursue(run, table, now)
        self._next_poll = now + _POLL_SECONDS if self._stopping or self._lingering else _NEVER

    def _settled(self, run: Run) -> bool:
        if _group_exists(run.pid):
            return False
        self._unsure.append(run)
        return True

    def _pursue(self, run: Run, table: ProcessTable, now: float) -> None:
        assert run.stop_at is not None
        members = run.tree.members(table)
        # What even SIGKILL does not end (somebody else's process, or one stuck in the kernel) is not waited for.
        if run.over and (not members or now >= run.stop_at + _KILL_PATIENCE_SECONDS):
            del self._stopping[run.run_id]
            self._finish(run)
        elif now >= run.stop_at:
            send(members, signal.SIGKILL)

    # Strays: processes that left their run's session and lost their parent

    def _next_scan(self) -> float:
        if self._unsure:
            return self._last_scan + self._scan_cost / _URGENT_SCAN_SHARE
        if self._scan_wanted:
            return self._last_scan + max(_SCAN_SECONDS, self._scan_cost / _SCAN_SHARE)
        return _NEVER

    def _scan(self, now: float) -> None:
        table = process_table()
        found = {pid for pid in table.children(os.getpid()) if pid not in self._runs and table.alive(pid)}
        self._strays = {pid: owners for pid, owners in self._strays.items() if pid in found}
        self._nameless = {pid: since for pid, since in self._nameless.items() if pid in found}
        doomed = [pid for pid in found if not self._owned(pid)]
        send(table.descendants(doomed), signal.SIGKILL)
        unknown = [pid for pid in found if pid not in self._strays]
        self._release_unsure([*doomed, *unknown])
        self._scan_wanted = bool(doomed or unknown)
        self._last_scan = time.monotonic()
        self._scan_cost = self._last_scan - now

    def _owned(self, pid: int) -> bool:
        """Whether a run that goes on may have started this adopted process."""
        runs = (self._by_id.get(run_id) for run_id in self._owners(pid))
        return any(run is not None and (not run.over or run.stop_at is not None) for run in runs)

    def _owners(self, pid: int) -> frozenset[int]:
        """Ids of the runs that an adopted process may belong to."""
        if pid not in self._strays:
            mark = mark_of(pid)
            # Where its environment tells nothing, it may be of any run there is.
            owners = frozenset(run.run_id for run in self._by_id.values() if mark is None or run.mark == mark)
            if mark is None and not self._stays_nameless(pid):
                return owners
            self._strays[pid] = owners
        return self._strays[pid]

    def _stays_nameless(self, pid: int) -> bool:
        """Whether its environment will tell nothing later either: as a process becomes another program, it is empty."""
        now = time.monotonic()
        return now - self._nameless.setdefault(pid, now) >= _NAMELESS_SECONDS

    def _release_unsure(self, suspicious: list[int]) -> None:
        suspects = {run_id for pid in suspicious for run_id in self._owners(pid)}
        ready = [run for run in self._unsure if run.run_id not in suspects]
        self._unsure = [run for run in self._unsure if run.run_id in suspects]
        for run in ready:
            self._finish(run)


class _Children:
    """Pids of this process's children, as the system lists them. It has one thread."""

    def __init__(self) -> None:
        try:
            # Kept open: that is asked for at the end of each run.
            self._descriptor = os.open(_CHILDREN, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._descriptor = -1

    def pids(self) -> list[int] | None:
        """Those there are now; None: the system does not list them."""
        if self._descriptor < 0:
            return None
        text = b""
        while more := os.pread(self._descriptor, _LIST_BYTES, len(text)):
            text += more
        return [int(pid) for pid in text.split()]


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _group_exists(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # what is left there runs as somebody else
    return True
