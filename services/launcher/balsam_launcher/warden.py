"""The warden: stands between a launcher and its node agent, and ends the agent's runs when the agent cannot.

The agent ends runs when its launcher dies and where trust ends. But an agent may be killed while its launcher is
stopped, or be stopped itself: then nobody else is there who could. The warden is a process that does nothing but this:
it hears from the launcher until when there is trust, it is a subreaper, and it needs nobody's answer to kill.

If the warden dies, the agent notices that by the end of a pipe, and ends its runs and itself.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time

from balsam.processes import become_subreaper, process_table
from balsam_launcher.frames import Decoder
from balsam_launcher.leftovers import kill_leftovers

ORPHANED_SECONDS = 1.5
"""After the launcher's death the agent has so long to end its runs [s]."""

_NEVER = float("inf")
_READ_BYTES = 1 << 16


class Warden:
    """The loop around one agent.

    Args:
        launcher: the launcher's end of trust comes here, as a time of the host's monotonic clock; its end is the end
            of the launcher.
        agent: the process, a child of this one.
    """

    def __init__(self, launcher: socket.socket, agent: subprocess.Popen[bytes]) -> None:
        launcher.setblocking(False)
        self._launcher = launcher
        self._agent = agent
        self._decoder = Decoder()
        self._deadline = _NEVER
        self._orphaned = False
        self._wake, signal_end = socket.socketpair()
        for end in (self._wake, signal_end):
            end.setblocking(False)
        self._signal_end = signal_end
        self._poll = select.poll()
        self._poll.register(launcher, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def run(self) -> int:
        """Watches until the agent has ended, and then ends what it has left; returns its exit status."""
        signal.set_wakeup_fd(self._signal_end.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        while self._agent.poll() is None:
            for descriptor, _ in self._poll.poll(self._timeout()):
                if descriptor == self._wake.fileno():
                    self._drain_wake()
                else:
                    self._receive()
            if time.monotonic() >= self._deadline:
                self._end()
        kill_leftovers(())
        return self._agent.returncode

    def _receive(self) -> None:
        try:
            data = self._launcher.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._poll.unregister(self._launcher)
            self._orphaned = True
            self._deadline = min(self._deadline, time.monotonic() + ORPHANED_SECONDS)
        for (deadline,) in self._decoder.feed(data):
            self._deadline = deadline

    def _end(self) -> None:
        """The agent should have ended its runs by now."""
        self._deadline = _NEVER
        if self._orphaned or process_table().children(self._agent.pid):
            self._agent.kill()

    def _timeout(self) -> float | None:
        """Milliseconds until the deadline; None: there is none."""
        return None if self._deadline == _NEVER else max(0.0, (self._deadline - time.monotonic()) * 1000 + 0.5)

    def _drain_wake(self) -> None:
        try:
            self._wake.recv(4096)
        except BlockingIOError:
            pass


def main() -> int:
    """``python -m balsam_launcher.warden AGENT LAUNCHER``: descriptors of the agent's socket and of our own."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    agents = int(sys.argv[1])
    launcher = socket.socket(fileno=int(sys.argv[2]))
    launcher.set_inheritable(False)
    life, ours = os.pipe()
    agent = subprocess.Popen(
        [sys.executable, "-P", "-m", "balsam_launcher.agent", str(agents), str(life)], pass_fds=[agents, life]
    )
    os.close(agents)
    os.close(life)
    status = Warden(launcher, agent).run()
    os.close(ours)
    return status


if __name__ == "__main__":
    sys.exit(main())
