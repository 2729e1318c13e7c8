"""Failpoints: named places in the sources where a test, or a developer by hand, has a process fail.

    BALSAM_FAILPOINTS="jobstore.after-commit=done-but-error,hit=12; worker.before-reports=pause:6,in=launcher,once"

An item is ``name=action`` and options: ``hit=N`` (the N-th time only; counted in each process), ``in=KIND`` (in
processes of this kind only, see `KINDS`), ``once`` (once for all processes that share the directory
``BALSAM_FAILPOINT_DIR``, where a file with the point's name is made: the process that is started again does not fail
again). The actions are those of `ACTIONS`.

Without the variable a point is a call of an empty function. Services call `arm` as they start, the client library as it
makes its first connection; a mistake in the variable ends them with a line that names it.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from balsam.errors import SiteError, Unavailable

ENV_POINTS = "BALSAM_FAILPOINTS"
ENV_DIRECTORY = "BALSAM_FAILPOINT_DIR"

KINDS = ("jobstore", "scheduler", "launcher", "agent", "client")
"""Kinds of processes; ``client``: commands, people's programs, and runs and scripts that use the library."""

ACTIONS: Mapping[str, str] = {
    "raise": "the step that follows fails with EIO, or the error given (raise:EAGAIN), and is not done",
    "enospc": "the step that follows fails as the disk is full, and is not done",
    "done-but-error": "the step before is done, but whoever waits for it is told that it failed",
    "kill": "SIGKILL for this process",
    "pause": "the whole process is stopped for so many seconds (pause:6) and then goes on, as with SIGSTOP and SIGCONT",
}
"""Name -> what it does."""

_ANYWHERE = ("kill", "pause")
_BEFORE_STEP = ("raise", "enospc", *_ANYWHERE)
_AFTER_STEP = ("done-but-error", *_ANYWHERE)

Failure = Callable[[OSError], Exception]
"""Makes of a system's error what the step itself would raise."""


class Point(NamedTuple):
    """A place in the sources: what is happening there, and the actions that make sense."""

    text: str
    actions: tuple[str, ...] = _ANYWHERE


POINTS: Mapping[str, Point] = {
    "jobstore.after-migrate": Point("the schema is there, and nothing is served yet", _BEFORE_STEP),
    "jobstore.in-group": Point("the commands of a group have written, and nothing follows from that yet", _BEFORE_STEP),
    "jobstore.before-commit": Point(
        "all of a group is written, with what is handed out, and not durable", _BEFORE_STEP
    ),
    "jobstore.after-commit": Point("a group is durable, and nobody knows", _AFTER_STEP),
    "jobstore.in-attach": Point("a worker's line is the one of its session, and not committed", _BEFORE_STEP),
    "jobstore.after-reports": Point("a worker's reports are applied, and nothing is committed", _BEFORE_STEP),
    "jobstore.in-sweep": Point("a session was found to have expired, and is not ended yet"),
    "jobstore.in-session-end": Point("the jobs of a session are given back, and nothing is committed", _BEFORE_STEP),
    "scheduler.after-rules": Point("the rules are in force, and no work is asked for yet", _AFTER_STEP),
    "scheduler.after-script": Point("a script has ended, and its outcome is not known to anybody"),
    "scheduler.before-report": Point("a step has an outcome, which is not on the line yet"),
    "launcher.after-grant": Point("a job was taken on, and nothing is ordered for it"),
    "launcher.after-order": Point("orders are on their way to the agent, and nothing is reported"),
    "worker.before-reports": Point("reports are ready to be sent to the job store"),
    "worker.before-message": Point("a message of the job store has come, and is not looked at", _AFTER_STEP),
    "worker.before-close": Point("all is reported, and the session is about to be closed", ("raise", *_ANYWHERE)),
    "ledger.before-write": Point("results are about to be written down, and are not reported", _BEFORE_STEP),
    "ledger.after-write": Point("results are written down, and are not reported"),
    "ledger.after-recovery": Point("a dead launcher's results are at the job store, and their ledger is still there"),
    "agent.before-spawn": Point("a run's files are open, and no process is started", _BEFORE_STEP),
    "agent.after-spawn": Point("a run's process lives, and the agent does not know it yet"),
    "agent.before-notices": Point("starts and ends of runs are ready to be told to the launcher"),
    "agent.after-reap": Point("the exit of a run was collected, and nobody else will ever see it"),
    "client.before-answer": Point("the service has done what a call asked for, and has answered", _AFTER_STEP),
}
"""Every point there is; each is hit at one place in the sources."""


def _off(name: str, failure: Failure | None = None) -> None:
    pass


hit: Callable[..., None] = _off
"""A point: ``failpoints.hit(name)``, or ``failpoints.hit(name, failure)`` where a step would raise no OSError."""


@dataclass
class Armed:
    """A point that does something."""

    action: str
    seconds: float = 0.0
    errno: int = errno.EIO
    nth: int = 0
    kind: str = ""
    once: bool = False
    count: itertools.count[int] = field(default_factory=lambda: itertools.count(1), compare=False)


def arm(kind: str, environ: Mapping[str, str] = os.environ) -> None:
    """Arms the points that the environment names, in a process of this kind.

    Raises:
        SiteError: the variable is not valid; says what is wrong with which item.
    """
    global hit
    text = environ.get(ENV_POINTS, "")
    if not text or (kind == "client" and hit is not _off):
        return  # the library in a service that is armed already
    directory = environ.get(ENV_DIRECTORY, "")
    points = {name: point for name, point in parse(text, directory).items() if point.kind in ("", kind)}

    def armed_hit(name: str, failure: Failure | None = None) -> None:
        point = points.get(name)
        if point is not None and _due(name, point, directory):
            _act(name, point, failure)

    hit = armed_hit


def parse(text: str, directory: str = "") -> dict[str, Armed]:
    """The points that a text arms, by name; `directory` is the one that ``once`` needs.

    Raises:
        SiteError: the text is not valid.
    """
    points: dict[str, Armed] = {}
    for item in filter(None, (part.strip() for part in text.split(";"))):
        name, _, rest = item.replace(" ", "").partition("=")
        action, *options = rest.split(",")
        if name not in POINTS:
            raise _wrong(item, f"there is no point {name!r}; there are {', '.join(POINTS)}")
        if name in points:
            raise _wrong(item, f"{name} is there twice")
        points[name] = _action(item, name, *action.partition(":")[::2])
        for option in options:
            _set_option(item, points[name], *option.partition("=")[::2])
        if points[name].once and not os.path.isdir(directory):
            raise _wrong(item, f"'once' needs {ENV_DIRECTORY}, a directory that exists, and not {directory!r}")
    return points


def _action(item: str, name: str, action: str, value: str) -> Armed:
    if action not in POINTS[name].actions:
        raise _wrong(item, f"{name} takes {', '.join(POINTS[name].actions)}, and not {action!r}")
    if action == "pause":
        try:
            seconds = float(value)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < 86_400:
            raise _wrong(item, f"a pause takes seconds (pause:6), and not {value!r}")
        return Armed(action, seconds=seconds)
    if action == "raise":
        number = getattr(errno, value or "EIO", None)
        if not isinstance(number, int):
            raise _wrong(item, f"there is no error {value!r}; write raise, or raise:EAGAIN")
        return Armed(action, errno=number)
    if value:
        raise _wrong(item, f"{action} takes no value, and not {value!r}")
    return Armed(action, errno=errno.ENOSPC if action == "enospc" else errno.EIO)


def _set_option(item: str, point: Armed, option: str, value: str) -> None:
    if option == "hit" and value.isdecimal() and int(value) > 0:
        point.nth = int(value)
    elif option == "in" and value in KINDS:
        point.kind = value
    elif option == "once" and not value:
        point.once = True
    else:
        given = f"{option}={value}" if value else option
        raise _wrong(item, f"{given!r} is none of hit=N (from 1), in=KIND ({', '.join(KINDS)}), once")


def _wrong(item: str, problem: str) -> SiteError:
    return SiteError(f"{ENV_POINTS}: {item!r}: {problem}")


def _due(name: str, point: Armed, directory: str) -> bool:
    if point.nth and next(point.count) != point.nth:
        return False
    if not point.once:
        return True
    try:
        os.close(os.open(os.path.join(directory, name), os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError:
        return False
    return True


def _act(name: str, point: Armed, failure: Failure | None) -> None:
    os.write(2, f"failpoint {name}: {point.action} (pid {os.getpid()})\n".encode())
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # until it arrives
    elif point.action == "pause":
        _stop_for(point.seconds)
    else:
        error = OSError(point.errno, os.strerror(point.errno))
        raise failure(error) if failure else error


def _stop_for(seconds: float) -> None:
    """Stops every thread of this process. A timer of the kernel has it go on: no child, whom somebody may take for a
    run's, and no second process that must not fail."""
    import ctypes

    class Event(ctypes.Structure):
        """struct sigevent"""

        _fields_ = [
            ("value", ctypes.c_void_p),
            ("signal", ctypes.c_int),
            ("notify", ctypes.c_int),
            ("rest", ctypes.c_int * 12),
        ]

    class Setting(ctypes.Structure):
        """struct itimerspec"""

        _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "after_s", "after_ns")]

    until = time.monotonic() + seconds
    libc, timer = ctypes.CDLL(None, use_errno=True), ctypes.c_void_p()
    event = Event(None, signal.SIGCONT, 0)  # SIGEV_SIGNAL
    setting = Setting(0, 0, int(seconds), int(seconds % 1 * 1e9) or 1)
    if libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)) or libc.timer_settime(
        timer, 0, ctypes.byref(setting), None
    ):
        raise OSError(ctypes.get_errno(), "cannot set a timer")
    os.kill(os.getpid(), signal.SIGSTOP)
    while time.monotonic() < until:  # the signal may reach another thread a moment before this one
        time.sleep(0.001)
    libc.timer_delete(timer)


# What failed steps raise where an OSError is not it


def as_unavailable(error: OSError) -> Exception:
    """A call that did not arrive, as callers of `rpc.Connection` see it."""
    return Unavailable(f"the line broke: {error.strerror}")


def as_broken_call(error: OSError) -> Exception:
    """A call or stream whose line broke, as gRPC tells it."""
    import grpc

    class BrokenCall(grpc.RpcError):
        """Looks like one of gRPC's own."""

        def code(self) -> grpc.StatusCode:
            """What clients look at first."""
            return grpc.StatusCode.UNAVAILABLE

        def details(self) -> str:
            """The reason."""
            return f"Socket closed: {error.strerror}"

        def trailing_metadata(self) -> tuple[()]:
            """The service itself said nothing."""
            return ()

    return BrokenCall()
