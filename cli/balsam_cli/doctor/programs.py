"""Other programs, asked with a time limit that holds also where they ignore signals or leave children behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What a program said.

    Attributes:
        status: its exit code; None: it was cut off at the limit, or could not be started.
        out: its output.
        err: what it printed on stderr, or why it could not be started.
        late: it was cut off.
    """

    status: int | None
    out: str = ""
    err: str = ""
    late: bool = False

    @property
    def last_line(self) -> str:
        """The last line that it printed, stderr first."""
        lines = [line.strip() for text in (self.out, self.err) for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"


def ask(
    words: Sequence[str], seconds: float, *, environ: Mapping[str, str] | None = None, keep_sigpipe: bool = False
) -> Answer:
    """Runs a program for at most `seconds`; then it and its process group are killed.

    Args:
        words: its command line.
        seconds: the limit.
        environ: its environment; None: ours.
        keep_sigpipe: it is started with SIGPIPE ignored, as this process has it.
    """
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environ,
            start_new_session=True,
            restore_signals=not keep_sigpipe,
        )
    except OSError as error:
        return Answer(None, err=f"{error.strerror}: {words[0]}")
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()  # who left the group may hold the other end for long
        return Answer(None, late=True)
    return Answer(process.returncode, out, err)
