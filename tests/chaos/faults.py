"""Gives the faults of a plan to the processes of a campaign, and writes down what was hit."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from balsam.processes import mark_of, process_table
from balsam_jobstore.postgres import Cluster
from tests.chaos.plan import KILL, FaultPlan, Plan
from tests.chaos.supervisor import Supervisor

_GAP_SECONDS = 0.25
_TRIO = ("launcher", "warden", "agent")
_SEARCH_SECONDS = 2.0
_SHARE = 0.95
"""The last fault is due when so much of the campaign is done."""


class Faults:
    """The faults of a campaign, each when its share of the jobs has ended.

    Args:
        directory: of the campaign.
        plan: what is to be done.
        supervisor: has the processes.
        cluster: the site's PostgreSQL, if it has one.
    """

    def __init__(self, directory: Path, plan: Plan, supervisor: Supervisor, cluster: Cluster | None) -> None:
        self.given = 0
        self._planned: Sequence[FaultPlan] = plan.faults
        self._supervisor = supervisor
        self._cluster = cluster
        self._dice = random.Random(f"victims {plan.seed}")
        self._log = (directory / "faults.jsonl").open("a")
        self._stopped: list[tuple[float, int]] = []
        self._began = time.monotonic()
        self._last = self._began
        self._searching = 0.0

    @property
    def quiet(self) -> bool:
        """Nothing is stopped now."""
        return not self._stopped

    def give(self, progress: float) -> None:
        """Gives the next fault, if it is due at this share of the campaign, 0 to 1; lets go on what was stopped."""
        now = time.monotonic()
        self._go_on(now)
        if self.given == len(self._planned) or now - self._last < _GAP_SECONDS:
            return
        if progress < _SHARE * (self.given + 0.5) / len(self._planned):
            return
        fault = self._planned[self.given]
        pid = self._victim(fault.target)
        if pid == 0:
            self._searching = self._searching or now
            if now - self._searching < _SEARCH_SECONDS:
                return  # it is about to be started again, or such a one comes soon
            fault = FaultPlan(KILL, "run")
            pid = self._victim("run")
        self._searching = 0.0
        if pid:
            self._hit(fault, pid, now)

    def end(self) -> None:
        """Lets everything go on."""
        self._go_on(float("inf"))

    def _go_on(self, now: float) -> None:
        for until, pid in [stopped for stopped in self._stopped if stopped[0] <= now]:
            self._stopped.remove((until, pid))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _hit(self, fault: FaultPlan, pid: int, now: float) -> None:
        mark = mark_of(pid) if fault.target in ("run", "script") else None
        values = {
            "kind": fault.kind,
            "target": fault.target,
            "seconds": fault.seconds,
            "job_id": mark[0] if mark else "",
            "pid": pid,
            "after_seconds": round(now - self._began, 3),
            "time": time.time(),
        }
        number = signal.SIGKILL if fault.kind == KILL else signal.SIGSTOP
        if fault.target == "postmaster":
            number = signal.SIGQUIT  # an immediate shutdown
        self._log.write(json.dumps(values) + "\n")
        self._log.flush()
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return  # given again, to another; what is written down excuses too much rather than too little
        if number == signal.SIGSTOP:
            self._stopped.append((now + fault.seconds, pid))
        self.given += 1
        self._last = now

    def _victim(self, target: str) -> int:
        """A process of this kind; 0: there is none."""
        if target == "jobstore":
            return self._one_of([pid for name in self._supervisor.job_stores if (pid := self._supervisor.pid(name))])
        if target in self._supervisor.children:
            return self._supervisor.pid(target)
        table = process_table()
        trios = [
            {"launcher": launcher, "warden": warden, "agent": agent}
            for name in self._supervisor.launchers
            if (launcher := self._supervisor.pid(name))
            for warden in table.children(launcher)
            for agent in table.children(warden)
            if b".agent" in _command(agent)
        ]
        if target in _TRIO:
            # Never all three at once: a host where all of them stand still is one where the runs do, too.
            stopped = {pid for _, pid in self._stopped}
            able = [trio for trio in trios if len(stopped.intersection(trio.values())) < 2]
            return self._one_of([trio[target] for trio in able if trio[target] not in stopped])
        postmaster = self._cluster.pid() if self._cluster else None
        if target == "postmaster":
            return postmaster or 0
        if target == "backend":
            servers = table.children(postmaster or 0) if postmaster else []
            return self._one_of([pid for pid in servers if _command(pid).startswith(b"postgres: balsam")])
        if target == "script":
            # Each is the first process of a session, below the scheduler.
            below = table.descendants([self._supervisor.pid("scheduler")])
            return self._one_of(
                [pid for pid in below if table.by_pid[pid].session == pid and b"witness.sh" in _command(pid)]
            )
        runs = [pid for trio in trios for pid in table.children(trio["agent"])]
        return self._one_of([pid for pid in runs if b"witness.sh" in _command(pid)])

    def _one_of(self, pids: Sequence[int]) -> int:
        return self._dice.choice(sorted(pids)) if pids else 0


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
