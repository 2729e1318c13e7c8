"""The processes of a campaign: started, started again when they are gone, and stopped in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from balsam import stores
from balsam.processes import process_table, send
from balsam.site import Site

ROOT = Path(__file__).resolve().parents[2]
MARK = "BALSAM_CHAOS"
"""Variable that every process of a campaign inherits: its directory."""

PACKAGES = {
    "balsam": "client",
    "balsam_jobstore": "services/jobstore",
    "balsam_scheduler": "services/scheduler",
    "balsam_launcher": "services/launcher",
    "balsam_cli": "cli",
}
"""Import package -> its source root in a checkout."""

STOP_SECONDS = 30.0
AT_WORK_SECONDS = 15.0
"""After so long a process has found whom it needs, or waits for them."""

_PAUSE_SECONDS = 0.5  # before what has ended by itself is started again


@dataclass
class Child:
    """A process that is kept running, whichever it is now."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0


class Supervisor:
    """Keeps the processes of a campaign running.

    Args:
        directory: of the campaign.
        site: its site.
        launchers: how many are always there.
        source: a checkout whose packages the processes import; None: what is installed.
    """

    def __init__(self, directory: Path, site: Site, launchers: int, source: Path | None) -> None:
        self.site = site
        self.own_exits: Counter[str] = Counter()
        """What ended by itself: ``name (code)`` -> how often."""
        self.gave_up: list[str] = []
        """What ended by itself with an error though it had been at work: nothing that is done to others may do that."""
        self._directory = directory
        self._environ = environment(directory, source)
        self.children: dict[str, Child] = {}
        self.job_stores = [stores.name(number) for number in range(1, site.settings.job_stores + 1)]
        """Names of the job stores."""
        for number, name in enumerate(self.job_stores, 1):
            self._add(name, "balsam_jobstore", "--site", str(site.path), "--number", str(number))
        self._add("scheduler", "balsam_scheduler", "--site", str(site.path))
        for number in range(launchers):
            self._add(f"launcher{number}", "balsam_launcher", "--site", str(site.path), "--persistent")
        for name in ("subscriber", "users"):
            self._add(name, f"tests.chaos.{name}", str(directory))

    def _add(self, name: str, module: str, *arguments: str) -> None:
        self.children[name] = Child(name, [sys.executable, "-m", module, *arguments])

    @property
    def launchers(self) -> list[str]:
        """Names of the launchers."""
        return [name for name in self.children if name.startswith("launcher")]

    def pid(self, name: str) -> int:
        """Process id of what lives; 0: it does not."""
        process = self.children[name].process
        return process.pid if process is not None and process.poll() is None else 0

    def done(self, name: str) -> bool:
        """It has ended with 0, and is not started again."""
        process = self.children[name].process
        return process is not None and process.poll() == 0

    def keep(self) -> None:
        """Starts what is not there."""
        for child in self.children.values():
            code = None if child.process is None else child.process.poll()
            if child.process is None and child.name != "jobstore" and not self.site.read_info("jobstore"):
                continue  # as `balsam up` does it: the first start of all others waits for it
            if child.process is not None and (code is None or (code == 0 and child.name == "users")):
                continue
            if code == -signal.SIGKILL or code is None or time.monotonic() > child.started + _PAUSE_SECONDS:
                if code not in (None, -signal.SIGKILL):
                    self._ended_by_itself(child, code)
                self._start(child)

    def _ended_by_itself(self, child: Child, code: int | None) -> None:
        self.own_exits[f"{child.name.rstrip('0123456789')} ({code})"] += 1
        if time.monotonic() - child.started > AT_WORK_SECONDS:
            self.gave_up.append(f"{child.name} ended by itself with {code}; see log/{child.name}.console")

    def _start(self, child: Child) -> None:
        with (self.site.log / f"{child.name}.console").open("ab") as console:
            child.started = time.monotonic()
            child.process = subprocess.Popen(
                child.command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd="/",
                env=self._environ,
                start_new_session=True,
            )

    def stop(self, *names: str) -> list[str]:
        """Asks processes to stop, all at once; gives what was wrong with that."""
        asked = [(child, child.process) for name in names if self.pid(name) and (child := self.children[name])]
        for _, process in asked:
            assert process is not None
            process.send_signal(signal.SIGTERM)
        problems, deadline = [], time.monotonic() + STOP_SECONDS
        for child, process in asked:
            assert process is not None
            try:
                code = process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                problems.append(f"{child.name} did not stop within {STOP_SECONDS:g} s")
                continue
            if code != 0:
                problems.append(f"{child.name} stopped with {code}")
        return problems

    def remains(self) -> dict[int, str]:
        """Processes of the campaign that live: pid -> command line."""
        mark = f"{MARK}={self._directory}".encode()
        found = {}
        for pid, process in process_table().by_pid.items():
            if not process.zombie and mark in _read(pid, "environ").split(b"\0"):
                found[pid] = _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
        return found

    def kill_everything(self) -> None:
        """Ends every process of the campaign, in whatever state it is."""
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            send(self.remains(), signal.SIGKILL)
            for child in self.children.values():
                if child.process is not None:
                    child.process.poll()
            if not self.remains():
                return
            time.sleep(0.05)


def environment(directory: Path, source: Path | None) -> dict[str, str]:
    """The environment of a campaign's processes: nobody's site, the mark, and the sources under test in front."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BALSAM_")}
    if "BALSAM_PG_BIN" in os.environ:
        environ["BALSAM_PG_BIN"] = os.environ["BALSAM_PG_BIN"]
    roots = [] if source is None else [str(source.resolve() / root) for root in PACKAGES.values()]
    # The harness itself last: its own `tests`.
    environ["PYTHONPATH"] = os.pathsep.join([*roots, str(ROOT)])
    environ[MARK] = str(directory)
    return environ


def wrong_sources(environ: Mapping[str, str], source: Path) -> list[str]:
    """Packages that a process with this environment would not import from a checkout."""
    code = f"import importlib.util as u; [print(p, u.find_spec(p).origin) for p in {list(PACKAGES)}]"
    answer = subprocess.run(
        [sys.executable, "-c", code], env=dict(environ), cwd="/", capture_output=True, text=True, check=True
    )
    expected = {name: source.resolve() / root / name for name, root in PACKAGES.items()}
    found = dict(line.split(" ", 1) for line in answer.stdout.splitlines())
    return [
        f"{name} is imported from {found.get(name)} and not from {path}"
        for name, path in expected.items()
        if not str(found.get(name, "")).startswith(f"{path}/")
    ]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it ended, or is not ours
        return b""
