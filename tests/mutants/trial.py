"""A bug on trial: a copy of the sources with it, and detectors at work there until one finds something."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.mutants.detectors import DETECTORS, Detector
from tests.mutants.seeds import ROOT, Bug

_PARTS = ("client", "services", "cli", "tests", "scripts", "protos", "pyproject.toml")
_PACKAGES = ("client", "services/jobstore", "services/scheduler", "services/launcher", "cli")
_CLEAN, _FOUND = 0, 1
_CHECK = """
import pathlib, sys, balsam, balsam_cli, balsam_jobstore, balsam_launcher, balsam_scheduler
here = pathlib.Path.cwd()
sys.exit(any(here not in pathlib.Path(m.__file__).parents for n, m in sys.modules.items() if n.startswith("balsam")))
"""


class Unusable(Exception):
    """A detector that says nothing here: it finds something without any bug, or does not come to an end."""


@dataclass(frozen=True)
class Finding:
    """Who found a bug, by what, and after how long."""

    detector: str
    how: str
    seconds: float


class Trials:
    """Trials of bugs; remembers which detectors are quiet where there is no bug."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._baselines: dict[str, threading.Lock] = {}
        self._quiet: dict[str, str] = {}

    def try_bug(self, bug: Bug) -> Finding | None:
        """Asks the detectors of a bug, one after the other; None: none of them finds it.

        Raises:
            ValueError: the bug does not apply any more.
            Unusable: a detector found something without the bug as well, or did not run.
        """
        began = time.monotonic()
        with copy_of(self._root) as directory:
            bug.apply(directory)
            for name in bug.detectors:
                detector = DETECTORS[name]
                if not detector.exists(directory):
                    continue
                status, output = run(detector, directory)
                seconds = time.monotonic() - began
                if status == _CLEAN:
                    continue
                if status != _FOUND:
                    raise Unusable(f"{name} ended with {status}:\n{tail(output)}")
                self._assert_quiet(detector)
                return Finding(name, first_finding(output), seconds)
        return None

    def _assert_quiet(self, detector: Detector) -> None:
        with self._lock:
            lock = self._baselines.setdefault(detector.name, threading.Lock())
        with lock:
            if detector.name not in self._quiet:
                with copy_of(self._root) as directory:
                    status, output = run(detector, directory)
                self._quiet[detector.name] = "" if status == _CLEAN else f"it ended with {status}\n{tail(output)}"
        if self._quiet[detector.name]:
            raise Unusable(f"{detector.name} finds something without any bug:\n{self._quiet[detector.name]}")


@contextmanager
def copy_of(root: Path) -> Iterator[Path]:
    """A copy of the sources, for a while."""
    with tempfile.TemporaryDirectory(prefix="balsam-bug-", ignore_cleanup_errors=True) as name:
        directory = Path(name).resolve()
        for part in _PARTS:
            if (root / part).is_dir():
                shutil.copytree(root / part, directory / part, ignore=shutil.ignore_patterns("__pycache__"))
            elif (root / part).exists():
                shutil.copy(root / part, directory / part)
        yield directory


def run(detector: Detector, directory: Path) -> tuple[int, str]:
    """Runs a detector in a copy; its exit status and what it printed. One that hangs has found something."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(directory / package) for package in _PACKAGES)}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(directory)}
    python = detector.command[0]
    if subprocess.run([python, "-c", _CHECK], cwd=directory, env=environment, check=False).returncode:
        raise Unusable("the packages that are imported are not those of the copy")
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            detector.command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(detector.limit_seconds)
        except subprocess.TimeoutExpired:
            output.write(f"\nFAILED hangs: no end after {detector.limit_seconds:g} s\n")
            status = _FOUND
        finally:
            _kill_leftovers(process, directory)
        output.seek(0)
        return status, output.read()


def _kill_leftovers(process: subprocess.Popen[bytes], directory: Path) -> None:
    """Ends a detector, and what it has left: a bug may be just that nobody ends it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    for other in psutil.process_iter():
        try:
            if str(directory) in other.environ().get("PYTHONPATH", ""):
                other.kill()
        except psutil.Error:
            continue  # not ours, or gone


def first_finding(output: str) -> str:
    """The name of the first test that failed, or the first finding of chaos."""
    found = re.search(r"^FAILED (?:\S*::)?(.+?)(?: - .*)?$", output, re.MULTILINE)
    found = found or re.search(r"^(?:ERROR (?:\S*::)?|- )(.+?)(?: - .*)?$", output, re.MULTILINE)
    return found[1][:120] if found else tail(output, 1)[:120]


def tail(output: str, lines: int = 25) -> str:
    """The last lines."""
    return "\n".join(output.strip().splitlines()[-lines:])
