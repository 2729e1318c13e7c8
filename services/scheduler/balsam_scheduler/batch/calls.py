"""Commands of batch systems: each has a time limit, and one line says why it could not be run."""

from __future__ import annotations

import fnmatch
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

from balsam.commands import base_environment
from balsam.errors import BalsamError

LIMIT_SECONDS = 30.0
"""How long a command of a batch system may take; they wait for ever for a controller that is away."""

_MOST_LINES = 8
_MOST_CHARACTERS = 2000
"""Of what a command complains about so much is told."""


class CannotRun(BalsamError):
    """A command could not be run, or was cut off: nothing is known by it."""

    reason = "BATCH_SYSTEM"


class NoAnswer(CannotRun):
    """A command did not end in time: what it was to do may have been done."""


@dataclass(frozen=True)
class Call:
    """A command.

    Attributes:
        words: the program and its arguments.
        input: what it reads.
        without: variables that it does not get, exact or as globs.
    """

    words: tuple[str, ...]
    input: str = ""
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Output:
    """What a command has said, and its exit code (-n: ended by signal n)."""

    code: int
    out: str = ""
    err: str = ""

    @property
    def complaint(self) -> str:
        """What went wrong, in one line: all that it said, of much the first and the last."""
        said = (line.strip() for line in (self.err.strip() or self.out.strip()).splitlines())
        lines = list(dict.fromkeys(line for line in said if line))
        if len(lines) > _MOST_LINES:
            lines = [lines[0], "...", *lines[2 - _MOST_LINES :]]
        return " | ".join(lines)[:_MOST_CHARACTERS] or f"it said nothing and ended with {self.code}"


Run = Callable[[Call], Output]
"""Runs a command. Raises CannotRun."""
Start = Callable[..., AbstractContextManager[subprocess.Popen[bytes]]]
"""Starts a process, as `subprocess.Popen` does, and waits for it at the end of the block."""


def run(call: Call, *, seconds: float = LIMIT_SECONDS, start: Start = subprocess.Popen) -> Output:
    """Runs a command in this process's environment, without what that holds of a run.

    Args:
        call: the command.
        seconds: how long it may take; then it is killed.
        start: starts the process.

    Raises:
        CannotRun: there is no such program, or it cannot be executed.
        NoAnswer: it took too long.
    """
    program = call.words[0]
    try:
        with start(call.words, **_options(call)) as process:
            out, err = _communicate(process, call, seconds)
    except FileNotFoundError:
        raise CannotRun(f"there is no program {program!r} on PATH") from None
    except OSError as error:
        raise CannotRun(f"{program!r} cannot be run: {error.strerror}") from None
    return Output(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def until_silent(run: Run) -> Run:
    """Runs commands until one was not answered in time. Then it raises that at once: each more would take as long."""
    silent: list[str] = []

    def ask(call: Call) -> Output:
        if silent:
            raise NoAnswer(silent[0])
        try:
            return run(call)
        except NoAnswer as error:
            silent.append(str(error))
            raise

    return ask


def _options(call: Call) -> dict[str, Any]:
    pipe = subprocess.PIPE
    # A session of its own: an interrupt from the keyboard must not cut off a submission that is half done.
    return {
        "stdin": pipe,
        "stdout": pipe,
        "stderr": pipe,
        "env": {name: value for name, value in base_environment(os.environ).items() if not _is_dropped(name, call)},
        "start_new_session": True,
    }


def _is_dropped(name: str, call: Call) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in call.without)


def _communicate(process: subprocess.Popen[bytes], call: Call, seconds: float) -> tuple[bytes, bytes]:
    try:
        return process.communicate(call.input.encode(), seconds)
    except subprocess.TimeoutExpired:
        # Also where it has ended: what it started holds its output open.
        _kill(process)
        raise NoAnswer(f"{call.words[0]} did not answer within {seconds:g} s") from None
    finally:
        if process.poll() is None:
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
