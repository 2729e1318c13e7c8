"""Services that begin as copies of a process that has made their imports already, which are most of a start.

A copy is a process like any other: its directory, environment, arguments, files and session are its own, it runs
``python -m MODULE`` from the first line on, and its end is told to whoever started it. What is different: its
``/proc/PID/environ`` is that of the nursery.

This module is both sides: `Nursery` in the test, and, as a program, what copies itself.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

_IMPORTS = {
    "balsam_jobstore": (
        "balsam_jobstore.__main__",
        "sqlalchemy.dialects.sqlite",
        "psycopg2.extensions",
        "alembic.command",
        "alembic.context",
        "grpc.aio",
    ),
    "balsam_scheduler": ("balsam_scheduler.__main__", "balsam_scheduler.service", "grpc.aio"),
    "balsam_launcher": ("balsam_launcher.__main__", "balsam_launcher.command", "grpc.aio"),
}
"""Module -> what it imports until it serves."""
_ROOT = Path(__file__).resolve().parent.parent.parent
_MOST_BYTES = 1 << 17
_ARGUMENT_BYTES = 2048
_END_SECONDS = 5.0


class Copy:
    """A process that has been started so. What `subprocess.Popen` has of the same name does the same here."""

    def __init__(self, args: list[str], pid: int, status: socket.socket) -> None:
        self.args = args
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Its exit code, -n: by signal n; None: it runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end.

        Raises:
            subprocess.TimeoutExpired: it has not ended within so many seconds.
        """
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it."""
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._status.settimeout(timeout)
            with contextlib.suppress(BlockingIOError, TimeoutError):
                self.returncode = os.waitstatus_to_exitcode(int(self._status.recv(64)))
                self._status.close()
        return self.returncode


class Nursery:
    """Where copies of one module begin; it ends with the process that made it."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = [sys.executable, "-m", "tests.support.nursery", module, f"{theirs.fileno()}", "-" * _ARGUMENT_BYTES]
            self._process = subprocess.Popen(
                words, cwd=_ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )

    def start(self, options: Sequence[str], files: Sequence[int], environ: Mapping[str, str], cwd: str) -> Copy:
        """Starts a copy in a session of its own; `files` are its stdin, stdout and stderr."""
        args = [sys.executable, "-m", self._module, *options]
        ignored = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
        copy = {"args": args, "environ": dict(environ), "cwd": cwd, "ignored": ignored}
        request = json.dumps(copy).encode("utf-8", "surrogateescape")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._requests, [request], [*files, theirs.fileno()])
        pid = int(ours.recv(64))
        return Copy(args, pid, ours)

    def close(self) -> None:
        """Ends it; its copies go on."""
        self._requests.close()
        self._process.wait(_END_SECONDS)


def _python_environment() -> dict[str, str]:
    """Variables that Python and its extensions read when they are loaded."""
    return {name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "LD_", "GRPC_"))}


_AT_FIRST = _python_environment()
_nurseries: dict[str, Nursery] = {}


def start_module(
    module: str,
    options: Sequence[str],
    *,
    stdout: IO[bytes],
    stderr: IO[bytes] | None = None,
) -> Copy | subprocess.Popen[bytes]:
    """Starts ``python -m module`` in a session of its own, without input, in our directory and environment.

    It is no copy where the module is none of `_IMPORTS`, or where Python itself is to be another.
    """
    words = [sys.executable, "-m", module, *options]
    if module not in _IMPORTS or sum(map(len, words)) > _ARGUMENT_BYTES or _python_environment() != _AT_FIRST:
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr or stdout, start_new_session=True
        )
    if module not in _nurseries:
        _nurseries[module] = Nursery(module)
        atexit.register(_nurseries[module].close)
    with open(os.devnull, "rb") as nothing:
        files = [file.fileno() for file in (nothing, stdout, stderr or stdout)]
        return _nurseries[module].start(options, files, os.environ, os.getcwd())


# The other side


def _serve(requests: socket.socket) -> dict[str, Any]:
    """Makes copies as long as requests come; returns in each copy, with what it is to be."""
    selector = selectors.DefaultSelector()
    selector.register(requests, selectors.EVENT_READ)
    living: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for key, _ in selector.select():
            if key.fd != requests.fileno():
                pid, status = living.pop(key.fd)
                selector.unregister(key.fd)
                os.close(key.fd)
                with contextlib.suppress(OSError):  # nobody asks any more
                    status.send(b"%d" % os.waitpid(pid, 0)[1])
                status.close()
                continue
            request, descriptors, _, _ = socket.recv_fds(requests, _MOST_BYTES, 4)
            if not request:
                sys.exit(0)
            pid = os.fork()
            if pid == 0:
                selector.close()
                requests.close()
                for _, status in living.values():
                    status.close()
                for number, descriptor in enumerate(descriptors[:3]):
                    os.dup2(descriptor, number)
                os.closerange(3, max([*descriptors, *living]) + 1)
                copy: dict[str, Any] = json.loads(request)
                return copy
            for descriptor in descriptors[:3]:
                os.close(descriptor)
            status = socket.socket(fileno=descriptors[3])
            status.send(b"%d" % pid)
            descriptor = os.pidfd_open(pid)
            living[descriptor] = pid, status
            selector.register(descriptor, selectors.EVENT_READ)


def _become(args: list[str], environ: dict[str, str], cwd: str, ignored: list[int]) -> NoReturn:
    """What a copy does: what Python does before it runs a module, and that module."""
    os.setsid()
    os.chdir(cwd)
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(environ)
    _show_arguments(args)
    sys.path[0] = cwd
    sys.orig_argv[:] = args
    sys.argv[:] = args[2:]
    for name, mode, number in (("stdin", "r", 0), ("stdout", "w", 1), ("stderr", "w", 2)):
        setattr(sys, name, open(number, mode, errors="backslashreplace" if number == 2 else None, closefd=False))  # noqa: SIM115
    gc.unfreeze()
    runpy.run_module(args[2], run_name="__main__", alter_sys=True)
    sys.exit(0)


def _show_arguments(args: list[str]) -> None:
    """Has ``/proc/PID/cmdline`` show them.

    Source: proc(5): it is the memory from arg_start to arg_end, fields 48 and 49 of ``/proc/PID/stat``.
    """
    fields = Path("/proc/self/stat").read_bytes().rpartition(b") ")[2].split()
    start, end = int(fields[48 - 3]), int(fields[49 - 3])
    words = b"\0".join(os.fsencode(word) for word in args)
    ctypes.memmove(start, words.ljust(end - start, b"\0"), end - start)


def main(module: str, requests: int) -> NoReturn:
    """The nursery of a module."""
    for name in _IMPORTS[module]:
        importlib.import_module(name)
    del sys.modules[f"{module}.__main__"]  # it is run
    gc.freeze()
    _become(**_serve(socket.socket(fileno=requests)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
