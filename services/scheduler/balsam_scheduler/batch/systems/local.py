"""`local`: launches are processes of this host, in the background, for laptops and single machines.

A launch is named ``PID@HOST``. The script is the process itself, and so is the launcher that takes its place by `exec`.
A variable with the name of the launch tells it from a process that has got its id since.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from balsam.errors import BalsamError
from balsam.processes import ProcessTable, process_table, read_process
from balsam_scheduler.batch.answers import (
    Answer,
    CannotTell,
    Gone,
    InDoubt,
    InVain,
    Known,
    Refused,
    Submission,
    Ticket,
    run_submission,
)
from balsam_scheduler.batch.calls import Call, Run

ENV_NAME = "BALSAM_BATCH_NAME"
_START = 'setsid /bin/bash "$1" < /dev/null >> "$2" 2>&1 & echo $!'
_EXEC_SECONDS, _EXEC_POLL_SECONDS = 0.5, 0.005
_ENDED = Gone("its process is not there any more")


class Local:
    """No queue, and no nodes but this one."""

    name = "local"
    longest_name = 200

    def submission(self, wanted: Submission) -> tuple[str, ...]:
        """A shell that starts the script in the background, with nothing of ours open, and says its process id."""
        words = ("/bin/sh", "-c", _START, "sh", str(wanted.script), str(wanted.output))
        return ("env", f"{ENV_NAME}={wanted.name}", *words)

    def submit(self, wanted: Submission, run: Run) -> str:
        """Starts the script.

        Raises:
            Refused: it cannot be started.
            InDoubt: it may have been.
        """
        if wanted.nodes > 1:
            raise Refused(f"nodes = {wanted.nodes}: batch_system = 'local' has one node, this host")
        output = run_submission(Call(self.submission(wanted)), run)
        pid = output.out.strip()
        if output.code < 0:
            raise InDoubt(output.complaint)  # it was killed, perhaps after the start
        if output.code or not pid.isdigit():
            raise Refused(output.complaint)
        return f"{pid}@{socket.gethostname()}"

    def look(self, tickets: Sequence[Ticket], run: Run) -> dict[Ticket, Answer]:
        """Looks at the processes of this host."""
        return {ticket: self._look(ticket) for ticket in tickets}

    def _look(self, ticket: Ticket) -> Answer:
        if not ticket.job_id:
            return _find(ticket.name)
        pid, _, host = ticket.job_id.partition("@")
        if host != socket.gethostname():
            return CannotTell(f"it is a process of {host}, and this is {socket.gethostname()}")
        lives = pid.isdigit() and _is_it(int(pid), ticket.name, _EXEC_SECONDS)
        # This host knows its processes: nobody need be asked twice.
        return Known(ticket.job_id, "RUNNING" if lives else "ENDED", "" if lives else _ENDED.detail)

    def in_vain(self, reason: str) -> InVain | None:
        """Nothing waits here."""
        return None

    def ask_to_stop(self, job_id: str, run: Run) -> bool:
        """SIGTERM, which the launcher obeys."""
        return _send(job_id, signal.SIGTERM)

    def cancel(self, job_id: str, run: Run) -> None:
        """SIGKILL. What a launcher runs ends with it.

        Raises:
            BalsamError: it is on another host.
        """
        host = job_id.partition("@")[2]
        if host != socket.gethostname():
            raise BalsamError(f"process {job_id} is on another host: cancel it on {host}")
        _send(job_id, signal.SIGKILL)


def _find(name: str) -> Answer:
    """The process of a launch by its name alone. Its runs have inherited the variable, so the uppermost is it."""
    table = process_table()
    found = {pid for pid in table.by_pid if _is_it(pid, name)}
    first = next((pid for pid in sorted(found) if not found & _above(table, pid)), None)
    return Known(f"{first}@{socket.gethostname()}", "RUNNING") if first else _ENDED


def _above(table: ProcessTable, pid: int) -> set[int]:
    above: set[int] = set()
    while pid in table.by_pid and (pid := table.by_pid[pid].parent) not in above:
        above.add(pid)
    return above


def _is_it(pid: int, name: str, patience_seconds: float = 0.0) -> bool:
    """Whether a process lives and has the variable with this name."""
    deadline = time.monotonic() + patience_seconds
    while (process := read_process(pid)) is not None and not process.zombie:
        if f"{ENV_NAME}={name}".encode() in _variables(pid):
            return True
        # While a process becomes another program, as `exec` does, its variables cannot be read, or not all of them.
        if time.monotonic() >= deadline:
            return False
        time.sleep(_EXEC_POLL_SECONDS)
    return False


def _variables(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _send(job_id: str, number: signal.Signals) -> bool:
    pid, _, host = job_id.partition("@")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
