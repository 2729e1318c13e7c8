"""Profiles of the services while something is timed, by py-spy: it reads other processes' memory, from outside.

Whoever is profiled is slower, by how much depends on its threads: figures of a profiled run are for nobody.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import psutil

from benchmarks.figures import Skipped

_RATE_PER_S = 250
_STOP_SECONDS = 60.0


class Profiler:
    """Writes profiles into a directory: stacks and how often each was seen, one a line, as flame graphs are made of.

    https://www.speedscope.app shows them, and so does `sort`.

    Raises:
        Skipped: py-spy is not installed.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # Beside this Python first: who calls it by its path need not have its directory on PATH.
        here = str(Path(sys.executable).parent)
        self._program = shutil.which("py-spy", path=here) or shutil.which("py-spy") or ""
        if not self._program:
            raise Skipped("py-spy is not installed; `pip install py-spy`, or the extra [dev]")

    @contextlib.contextmanager
    def profiles(self, processes: Mapping[str, psutil.Process], name: str) -> Iterator[None]:
        """What the processes do meanwhile goes into ``NAME-PROCESS.folded`` of each.

        Raises:
            Skipped: other processes may not be looked into here.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        recorders: list[subprocess.Popen[str]] = []
        try:
            for which, process in processes.items():
                recorders.append(self._start(process.pid, self.directory / f"{name}-{which}.folded"))
            for recorder in recorders:
                _wait_until_it_samples(recorder)
            yield
        finally:
            for recorder in recorders:
                _end(recorder)

    def _start(self, pid: int, file: Path) -> subprocess.Popen[str]:
        # Without --nonblocking each sample stops the process: slower, and threads that wait are taken for busy ones.
        options = ["--format", "raw", "--rate", f"{_RATE_PER_S}", "--threads", "--nonblocking", "--output", str(file)]
        return subprocess.Popen(
            [self._program, "record", "--pid", str(pid), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def _wait_until_it_samples(recorder: subprocess.Popen[str]) -> None:
    said = []
    for line in _lines(recorder.stdout):
        said.append(line.strip())
        if "Sampling process" in line:
            return
    raise Skipped(
        f"py-spy cannot profile other processes here: {' '.join(said)[:500]}; be root, or permit it with"
        " `sysctl kernel.yama.ptrace_scope=0`"
    )


def _lines(stream: IO[str] | None) -> Iterator[str]:
    if stream is not None:
        yield from iter(stream.readline, "")


def _end(recorder: subprocess.Popen[str]) -> None:
    if recorder.poll() is None:
        recorder.send_signal(signal.SIGINT)
    try:
        recorder.communicate(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        recorder.kill()
        recorder.communicate()
