"""The launchers of a drill: started, killed, and all that they have started found by a mark in its environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from balsam.commands import base_environment
from balsam.site import ENV_SITE, Site

ENV_DRILL = "BALSAM_DRILL"
_POLL_SECONDS = 0.02
_STOP_SECONDS = 20.0


@dataclass
class Launcher:
    """A launcher, a child of this process; `mark` stands in the environment of all that it starts."""

    process: subprocess.Popen[bytes]
    mark: str
    killed: bool = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL, and takes leave of it."""
        self.killed = True
        self.process.kill()
        self.process.wait()


@dataclass
class Crew:
    """The launchers of one drill.

    Attributes:
        site: the site.
        workflow: the only one whose jobs they take.
        program: the words before the options; others are for tests.
    """

    site: Site
    workflow: str
    program: tuple[str, ...] = (sys.executable, "-m", "balsam_launcher")
    members: list[Launcher] = field(default_factory=list)

    def start(self) -> Launcher:
        """Starts one more. It ends by itself when none of the jobs is left."""
        mark = f"{self.workflow}.{len(self.members) + 1}"
        environ = base_environment(os.environ) | {ENV_DRILL: mark}
        environ.pop(ENV_SITE, None)
        process = subprocess.Popen(
            [*self.program, f"--site={self.site.path}", f"--wf-filter={self.workflow}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # what it has to say is in its log
            cwd="/",
            env=environ,
            start_new_session=True,  # a Ctrl-C is for us
        )
        self.members.append(Launcher(process, mark))
        return self.members[-1]

    def alive(self) -> list[Launcher]:
        """Those that run."""
        return [one for one in self.members if one.process.poll() is None]

    def wait(self, seconds: float) -> bool:
        """Waits until all have ended; whether they have."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def end(self) -> None:
        """Ends those that still run: asked first, then killed."""
        for one in self.alive():
            one.process.send_signal(signal.SIGTERM)
        self.wait(_STOP_SECONDS)
        for one in self.alive():
            one.kill()


def marked(mark: str) -> list[int]:
    """Processes that live and were started, however indirectly, by what bears a mark that begins so."""
    found = []
    sign = f"{ENV_DRILL}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue
        if state not in "ZX" and any(variable.startswith(sign) for variable in variables):
            found.append(int(entry.name))
    return found


def wait_until_none(mark: str, seconds: float) -> list[int]:
    """Waits until no process bears a mark; gives those that still do after `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return left
