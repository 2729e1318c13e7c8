"""One run command that starts node agents, and what it prints."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from balsam.errors import ValidationError
from balsam_launcher.hostlists import expand

_ENDED_TASKS = re.compile(r"srun: error: (\S+): tasks? \S+: (.+)")
_NOT_LAUNCHED = re.compile(r"srun: error: .*failed on node ([^\s:]+): (.+)")
_LOST = re.compile(r"srun: error: (?=Node failure on (\S+))(.+)")
_READ_BYTES = 1 << 16


def nodes_without(line: str) -> Iterator[tuple[str, str]]:
    """Names of the nodes of which srun says that its task has ended there, or was not started, and how. Pure.

    Source: srun of Slurm 22.05: ``srun: error: node[3-4]: tasks 2-3: Exited with exit code 1``, ``srun: error: Task
    launch for StepId=5.0 failed on node node3: Unspecified error``, ``srun: error: Node failure on node2``.
    """
    found = _ENDED_TASKS.search(line) or _NOT_LAUNCHED.search(line) or _LOST.search(line)
    if found is not None:
        with contextlib.suppress(ValidationError):
            for name in expand("srun", found[1]):
                yield name, found[2].strip()


class StarterProcess:
    """A run command at work.

    What it prints goes to a file of its own, and from there to the log: so its words are told from ours.

    Args:
        nodes: numbers of the nodes on which it starts agents.
        words: its command line.
        environ: its environment.
        log_file: takes what it prints, each time that `hear` is called.
        patience_seconds: so long it may take.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self, nodes: list[int], words: list[str], environ: Mapping[str, str], log_file: Path, patience_seconds: float
    ) -> None:
        self.nodes = nodes
        """Those that it is still to start agents on, or has."""
        self.words = words
        self.began = time.monotonic()
        self.patience_until = self.began + patience_seconds
        self.last_words = ""
        """The last line that it has printed."""
        self.without: dict[str, str] = {}
        """Names of nodes of which it has said that nothing runs there, and why."""
        self._log_file = log_file
        self._heard = 0
        self._begun_line = b""
        self._output = _file()
        # A session of its own: what a terminal or a batch system sends to our group is for us to handle.
        self._process = subprocess.Popen(
            words,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )

    @property
    def has_ended(self) -> bool:
        """Whether it has."""
        return self._process.poll() is not None

    @property
    def status(self) -> str:
        """How it ended, for people."""
        code = self._process.poll()
        return "nothing" if code is None else f"exit status {code}" if code >= 0 else f"signal {-code}"

    @property
    def reason(self) -> str:
        """Why it started nothing, for people."""
        return self.last_words or f"it ended with {self.status}"

    def hear(self) -> None:
        """Takes in what it has printed since the last time."""
        while data := os.pread(self._output.fileno(), _READ_BYTES, self._heard):
            self._heard += len(data)
            self._log(data)
            *lines, self._begun_line = (self._begun_line + data).split(b"\n")
            for line in lines:
                self._take(line.decode("utf-8", "replace").strip())
        if self.has_ended and self._begun_line:
            self._take(self._begun_line.decode("utf-8", "replace").strip())
            self._begun_line = b""

    def _take(self, line: str) -> None:
        if line:
            self.last_words = line
            self.without.update(nodes_without(line))

    def _log(self, data: bytes) -> None:
        with contextlib.suppress(OSError), open(self._log_file, "ab") as log:  # a full disk must not stop anything
            log.write(data)

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()

    def close(self) -> None:
        """Lets go of what it has printed, once it has ended."""
        self._output.close()

    def wait(self, patience: float) -> None:
        """Waits for its end; after `patience` seconds ends it. Blocks."""
        for stop in (self._process.terminate, self._process.kill):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
                return
            stop()
        self._process.wait()


def _file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile("w+b", buffering=0)
    except OSError:  # a full disk must not stop anything
        return open(os.devnull, "r+b", buffering=0)
