"""The node agent: starts processes, sees them end, ends them. One thread, one loop, nothing is polled on the way.

It is a process of its own, so that a busy launcher delays no start and no kill, and so that somebody is left to end the
runs when the launcher dies: the end of the launcher's socket is the end of every run.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Container
from typing import Any

from balsam import failpoints
from balsam.commands import ENV_ATTEMPT, ENV_JOB_ID, NOT_STARTED_CODE, describe_exit, rank_signal, read_tail
from balsam.processes import become_subreaper, oom_kills
from balsam_launcher.frames import Decoder, Notice, Order, Start, encode
from balsam_launcher.reaping import Reaper, Run
from balsam_launcher.seats import Room
from balsam_launcher.spawning import Refused, Shortage, Spawner

ANNOUNCE_SECONDS = 0.05
"""A run that lasts longer is announced when it has; the start of a shorter one travels with its end."""

_STARTS_AT_ONCE = 32
_GATHER_SECONDS = 0.01
_SHORTAGE_SECONDS = (0.05, 1.0)
_ORPHANED_GRACE_SECONDS = 1.0
_READ_BYTES = 1 << 18


class Agent:
    """The loop around one launcher's socket.

    Args:
        connection: the socket; its end ends the agent, and all runs with it.
        life: a pipe whose end does the same; -1: none.
    """

    def __init__(self, connection: socket.socket, life: int = -1) -> None:
        connection.setblocking(False)
        self._life = life
        self._connection = connection
        self._decoder = Decoder()
        self._spawner = Spawner()
        self._reaper = Reaper(self._ended)
        self._pending: deque[Start] = deque()
        self._room = Room()
        self._blocked_until = 0.0
        self._trusted_until = 0.0
        self._trust_ended = -1.0
        self._untrusted_grace = 0.0
        self._shortage_seconds = _SHORTAGE_SECONDS[0]
        self._unannounced: deque[Run] = deque()
        self._notices: list[tuple[Any, ...]] = []
        self._oldest_notice = 0.0
        self._unsent = b""
        self._oom_kills = oom_kills()
        self._open = True
        self._wake, signal_end = socket.socketpair()
        self._wake.setblocking(False)
        signal_end.setblocking(False)
        self._signal_end = signal_end
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)
        if life >= 0:
            self._poll.register(life, 0)  # its end is told all the same

    def run(self) -> None:
        """Serves until the launcher is gone and no run is left."""
        signal.set_wakeup_fd(self._signal_end.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        while self._open or self._reaper.busy:
            for descriptor, _ in self._poll.poll(self._timeout()):
                if descriptor == self._wake.fileno():
                    self._drain_wake()
                elif descriptor == self._life:
                    self._poll.unregister(self._life)
                    self._orphaned()
                else:
                    self._receive()
            self._reaper.collect()
            self._end_untrusted()
            self._start_pending()
            self._reaper.tend()
            self._announce()
            self._flush()
        self._reaper.sweep()

    def fail(self, story: str) -> None:
        """Tells the launcher of an error of the agent itself, whose end it is."""
        self._connection.setblocking(True)
        self._connection.settimeout(1.0)
        with contextlib.suppress(OSError):
            self._connection.sendall(self._unsent + encode([(Notice.LOG, f"the node agent failed: {story}")]))
        self._reaper.sweep()

    # Orders

    def _receive(self) -> None:
        try:
            data = self._connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._orphaned()
            return
        stops = []
        for message in self._decoder.feed(data):
            if message[0] == Order.START:
                self._pending.append(Start(*message))
            elif message[0] == Order.TRUST:
                _, self._trusted_until, self._untrusted_grace = message
            elif message[0] == Order.DROP:
                self._drop({message[1]})
            else:
                stops.append(message)
        if stops:
            self._stop(stops)

    def _stop(self, stops: list[tuple[Any, ...]]) -> None:
        graces: dict[int, float] = {}
        for _, run_id, grace in stops:
            graces[run_id] = min(grace, graces.get(run_id, grace))
        self._drop(graces)
        self._reaper.stop(graces)

    def _drop(self, run_ids: Container[int]) -> None:
        for start in [start for start in self._pending if start.run_id in run_ids]:
            self._pending.remove(start)
            self._notice(Notice.DROPPED, start.run_id)

    def _end_untrusted(self) -> None:
        """The launcher may be stopped, or the job store out of its reach: others may get our jobs soon."""
        if self._ends_trust and time.monotonic() >= self._trusted_until:
            self._trust_ended = self._trusted_until
            self._reaper.stop_all(self._untrusted_grace)  # also those that are being stopped with a longer grace

    @property
    def _ends_trust(self) -> bool:
        """Whether the end of the trust there is now is still to be acted on."""
        return self._reaper.busy and self._trust_ended != self._trusted_until

    def _orphaned(self) -> None:
        """The launcher is gone: so are its leases, before long. Nothing may outlive them."""
        if not self._open:
            return
        self._open = False
        self._poll.unregister(self._connection)
        self._pending.clear()
        self._reaper.stop_all(_ORPHANED_GRACE_SECONDS)

    # Starting

    def _start_pending(self) -> None:
        if not self._pending_now():
            return
        for _ in range(min(len(self._pending), _STARTS_AT_ONCE)):
            start = self._pending[0]
            if not self._has_room(start):
                return
            try:
                self._start(start)
            except Refused as error:
                self._notice(Notice.REFUSED, start.run_id, error.code, _now_us(), str(error))
            except ValueError as error:  # what no system call takes, such as a NUL in a path
                self._notice(Notice.REFUSED, start.run_id, NOT_STARTED_CODE, _now_us(), f"cannot start it: {error}")
            except Shortage as error:
                self._back_off(str(error))
                return
            self._pending.popleft()
            self._shortage_seconds = _SHORTAGE_SECONDS[0]

    def _has_room(self, start: Start) -> bool:
        return not start.share or self._room.has(start.share)

    def _start(self, start: Start) -> None:
        began, start_us = time.monotonic(), _now_us()
        pid, size = self._spawner.start(start)
        failpoints.hit("agent.after-spawn")
        mark = (start.variables[ENV_JOB_ID], int(start.variables[ENV_ATTEMPT]))
        run = Run(start.run_id, pid, began, start_us, start.directory, start.output, size, mark, start.share)
        if start.share:
            self._room.take(start.share)
        self._reaper.add(run)
        self._unannounced.append(run)

    def _back_off(self, reason: str) -> None:
        """The host is short of something: no attempt of the job is used up by that."""
        self._notice(Notice.LOG, f"cannot start a process now ({reason}); trying again")
        self._blocked_until = time.monotonic() + self._shortage_seconds
        self._shortage_seconds = min(self._shortage_seconds * 2, _SHORTAGE_SECONDS[1])

    # Notices

    def _ended(self, run: Run) -> None:
        """Called when a run has ended and nothing of it is left."""
        self._blocked_until = 0.0
        if run.share:
            self._room.give_back(run.share)
        message = "" if run.returncode == 0 else self._explain(run)
        self._notice(Notice.ENDED, run.run_id, run.returncode, run.start_us, run.end_us, message, run.stopped)

    def _explain(self, run: Run) -> str:
        out_of_memory = False
        if run.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL):
            before, self._oom_kills = self._oom_kills, oom_kills()
            out_of_memory = self._oom_kills > before and not run.stopped
        tail = read_tail(os.path.join(run.directory, run.output), since=run.output_start)
        run.returncode = rank_signal(run.returncode, tail)
        text = describe_exit(run.returncode, out_of_memory=out_of_memory)
        return f"{text}\n{tail}" if tail else text

    def _announce(self) -> None:
        now = time.monotonic()
        while self._unannounced and (self._unannounced[0].over or self._unannounced[0].began + ANNOUNCE_SECONDS <= now):
            run = self._unannounced.popleft()
            if not run.over:
                self._notice(Notice.STARTED, run.run_id, run.pid, run.start_us)

    def _notice(self, *notice: Any) -> None:
        if not self._notices:
            self._oldest_notice = time.monotonic()
        self._notices.append(notice)

    def _flush(self) -> None:
        """Sends what there is to tell; gathered for a moment, as long as the next runs are here already."""
        if not self._open:
            return
        if self._notices and not (self._pending and time.monotonic() < self._oldest_notice + _GATHER_SECONDS):
            self._unsent += encode(self._notices)
            self._notices.clear()
            failpoints.hit("agent.before-notices")
        if self._unsent:
            try:
                self._unsent = self._unsent[self._connection.send(self._unsent) :]
            except BlockingIOError:
                pass
            except OSError:
                self._orphaned()
                return
            self._poll.modify(self._connection, select.POLLIN | (select.POLLOUT if self._unsent else 0))

    def _pending_now(self) -> bool:
        """Whether a run is to be started now."""
        return (
            bool(self._pending)
            and self._blocked_until <= time.monotonic() < self._trusted_until
            and self._has_room(self._pending[0])
        )

    # Waiting

    def _timeout(self) -> float | None:
        """Milliseconds until something is due; None: nothing is."""
        if self._pending_now():
            return 0
        due = [self._reaper.due()]
        now = time.monotonic()
        if self._pending and now < self._trusted_until and self._has_room(self._pending[0]):
            due.append(self._blocked_until)
        if self._pending and self._notices:
            due.append(self._oldest_notice + _GATHER_SECONDS)
        if self._ends_trust:
            due.append(self._trusted_until)
        if self._unannounced:
            due.append(self._unannounced[0].began + ANNOUNCE_SECONDS)
        moment = min(due)
        return None if moment == float("inf") else max(0.0, (moment - now) * 1000 + 0.5)

    def _drain_wake(self) -> None:
        try:
            self._wake.recv(4096)
        except BlockingIOError:
            pass


def _now_us() -> int:
    return time.time_ns() // 1000


def main() -> int:
    """``python -m balsam_launcher.agent SOCKET [LIFE]``: descriptors of the launcher's socket and the warden's pipe."""
    # Whom a batch system or a terminal signals is the launcher; the agent ends with it, and after its runs.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    failpoints.arm("agent")
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    life = int(sys.argv[2]) if len(sys.argv) > 2 else -1
    if life >= 0:
        os.set_inheritable(life, False)
    agent = Agent(connection, life)
    try:
        agent.run()
    except Exception:
        agent.fail(traceback.format_exc())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
