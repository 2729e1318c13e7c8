"""A node agent without a launcher: the test holds the other end of its socket."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from balsam_launcher.frames import Decoder, Notice, Order, Start, encode

DEADLINE_SECONDS = 30.0


class AgentHost:
    """A running agent. `variables` is the environment that it gives to runs."""

    def __init__(self, directory: Path, environ: dict[str, str] | None = None) -> None:
        self.directory = directory
        self._ids = itertools.count(1)
        self._decoder = Decoder()
        self._notices: list[tuple[Any, ...]] = []
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "balsam_launcher.agent", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environ,
                start_new_session=True,
            )
        self.trust(3600.0)

    def close(self) -> None:
        """Lets go of the agent and waits until it has ended."""
        self.socket.close()
        self.process.wait(DEADLINE_SECONDS)

    def start(self, *argv: str, name: str = "", **more: Any) -> int:
        """Orders a run; gives its id. Its directory is `run_directory(id)`."""
        run_id = next(self._ids)
        variables = {"BALSAM_JOB_ID": f"job-{run_id}", "BALSAM_ATTEMPT": "1"} | more.pop("variables", {})
        values: dict[str, Any] = {"output": f"{name or 'job'}.out", "needs": "", "ignore_sigpipe": False} | more
        values.setdefault("directory", str(self.run_directory(run_id)))
        self.send(Start(Order.START, run_id, list(argv), variables, **values))
        return run_id

    def shell(self, script: str, **more: Any) -> int:
        """Orders a run of a bash script."""
        return self.start("bash", "-c", script, **more)

    def stop(self, run_id: int, grace: float) -> None:
        """Orders the end of a run."""
        self.send((Order.STOP, run_id, grace))

    def drop(self, run_id: int) -> None:
        """Orders that a run is not started, if it has not been yet."""
        self.send((Order.DROP, run_id))

    def trust(self, seconds: float, grace: float = 0.0) -> None:
        """Says for how long runs may start and go on, from now."""
        self.send((Order.TRUST, time.monotonic() + seconds, grace))

    def send(self, *orders: tuple[Any, ...]) -> None:
        """Sends orders in one frame."""
        self.socket.sendall(encode(orders))

    def run_directory(self, run_id: int) -> Path:
        """Working directory of a run."""
        return self.directory / f"run-{run_id}"

    def output(self, run_id: int) -> str:
        """What a run has written."""
        return (self.run_directory(run_id) / "job.out").read_text()

    def wait_for(self, *kinds: int, run_id: int = 0) -> tuple[Any, ...]:
        """The next notice of one of these kinds (of this run, if one is given); others are kept."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            for notice in self._notices:
                if notice[0] in kinds and run_id in (0, notice[1]):
                    self._notices.remove(notice)
                    return notice
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            data = self.socket.recv(1 << 16)
            assert data, f"the agent has ended; untold: {self._notices}"
            self._notices += self._decoder.feed(data)

    def wait_end(self, run_id: int) -> tuple[int, str]:
        """(return code, why) of a run that ran."""
        notice = self.wait_for(Notice.ENDED, Notice.REFUSED, run_id=run_id)
        assert notice[0] == Notice.ENDED, notice
        return notice[2], notice[5]

    def wait_refused(self, run_id: int) -> tuple[int, str]:
        """(exit code, why) of a run that could not be started."""
        notice = self.wait_for(Notice.ENDED, Notice.REFUSED, run_id=run_id)
        assert notice[0] == Notice.REFUSED, notice
        return notice[2], notice[4]

    def wait_output(self, run_id: int, text: str) -> None:
        """Waits until a run has written something."""
        wait_for_text(self.run_directory(run_id) / "job.out", text)


def wait_for_text(file: Path, text: str) -> str:
    """Waits until a file holds a text; gives all that it holds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not file.exists() or text not in file.read_text():
        assert time.monotonic() < deadline, f"no {text!r} in {file}"
        time.sleep(0.01)
    return file.read_text()


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"


def wait_gone(*pids: int, seconds: float = DEADLINE_SECONDS) -> float:
    """Waits until none of these processes runs; gives how long that took."""
    began = time.monotonic()
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < began + seconds, f"still there: {[pid for pid in pids if alive(pid)]}"
        time.sleep(0.005)
    return time.monotonic() - began


def clean_environ(**more: str) -> dict[str, str]:
    """This process's environment, and some more."""
    return {**os.environ, **more}
