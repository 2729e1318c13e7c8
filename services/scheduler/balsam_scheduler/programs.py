"""Programs that the scheduler starts for a job: its scripts, and those that copy files.

Each is a session of its own, watched by the thread that started it, and ended with everything it has started.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from balsam import processes
from balsam.directories import unfit_output
from balsam.processes import Tree
from balsam_scheduler.limits import Limit

log = logging.getLogger("balsam.scheduler")

_HOST_IS_SHORT = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_RETRY_SECONDS = 0.5
_CHILDREN = "/proc/self/task/{}/children"


class CannotStart(Exception):
    """A program could not be started; says why."""


@dataclass(frozen=True)
class Call:
    """A program to run.

    Attributes:
        command: its words.
        directory: where it runs.
        environment: all of its variables.
        output: open descriptor that takes its output and errors.
        job_id: the job; with `attempt` also the mark in the environment by which detached processes are found.
        attempt: which try of the job's step it is.
        standard_input: what it reads.
        linger_seconds: how long what it has started may outlive it, and write to `output`.
    """

    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str]
    output: int
    job_id: str
    attempt: int
    standard_input: bytes = b""
    linger_seconds: float = 0.0


class Watch(Protocol):
    """Who hears what runs; see `balsam_scheduler.guarding`."""

    def add(self, tree: Tree) -> None:
        """A program runs, or (pid 0) is about to be started."""

    def remove(self, tree: Tree) -> None:
        """Nothing is left of it."""


class Runner:
    """Runs programs to their end, from any thread.

    From now on orphans among what this process has started become its children, and it starts no others by itself:
    a child that it neither has already nor starts here is an orphan.

    Args:
        watch: is told what runs.
        grace_seconds: between SIGTERM and SIGKILL when a program is stopped.
    """

    def __init__(self, watch: Watch, grace_seconds: float) -> None:
        self._watch = watch
        self._grace_seconds = grace_seconds
        self._children = _children()
        self._sees_orphans = processes.become_subreaper() and os.path.exists(_CHILDREN.format(os.getpid()))
        # Held while a child is started, so that nobody takes it for an orphan and collects its exit.
        self._children_lock = threading.Lock()

    def run(self, call: Call, limit: Limit) -> int:
        """Runs a program and gives its exit code, -n for a signal n. Nothing of it is left then.

        Raises:
            CannotStart: there is no such program, or it cannot be executed.
            Stopped: it was stopped on demand.
            TimedOut: it passed its limit, and was stopped.
        """
        tree = Tree(0, call.job_id, call.attempt)
        self._watch.add(tree)
        try:
            process = self._start(call, limit)
            tree = Tree(process.pid, call.job_id, call.attempt)
            self._watch.add(tree)
            ended = False
            try:
                with _pidfd(process.pid) as pidfd:
                    _wait(pidfd, limit)
                ended = True
            finally:
                self._clean_up(process, tree, ended, call.linger_seconds)
        finally:
            self._watch.remove(tree)
        return process.returncode

    @contextlib.contextmanager
    def start(self, words: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Starts a program as `subprocess.Popen` does, for who waits for it himself within the block."""
        with self._children_lock:
            process = subprocess.Popen(words, **options)
            self._children.add(process.pid)
        try:
            with process:
                yield process
        finally:
            with self._children_lock:
                self._children.discard(process.pid)

    def _clean_up(self, process: subprocess.Popen[bytes], tree: Tree, ended: bool, linger_seconds: float) -> None:
        """Whatever it left in the background goes too: a lease ends when nothing of its job runs any more."""
        # What outlives its parent becomes our child: without such there is nothing to look for, which takes long.
        if ended and not linger_seconds and self._sees_orphans and not self._collect_orphans():
            survivors: list[int] = []
        elif ended and processes.gone(tree, linger_seconds):
            survivors = []
        else:
            survivors = processes.stop(tree, self._grace_seconds)
        if survivors:
            log.error("processes %s of job %s cannot be killed", survivors, tree.job_id)
        if process.pid not in survivors:
            process.wait()
        with self._children_lock:
            self._children.discard(process.pid)
        self._collect_orphans()

    def _collect_orphans(self) -> list[int]:
        """Collects the exits of orphans that came to us; gives the pids of those that live."""
        with self._children_lock:
            return [pid for pid in _children() - self._children if not _collect(pid)]

    def _start(self, call: Call, limit: Limit) -> subprocess.Popen[bytes]:
        while True:
            limit.check()
            try:
                return self._spawn(call)
            except OSError as error:
                if error.errno not in _HOST_IS_SHORT:
                    raise CannotStart(_why_not(call, error)) from None
                log.warning("cannot start %s for job %s now: %s", call.command[0], call.job_id, error.strerror)
            limit.pause(_RETRY_SECONDS)

    def _spawn(self, call: Call) -> subprocess.Popen[bytes]:
        with _input_file(call.standard_input) as standard_input, self._children_lock:
            process = subprocess.Popen(
                call.command,
                cwd=call.directory,
                env=dict(call.environment),
                stdin=standard_input,
                stdout=call.output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._children.add(process.pid)
            return process


@contextlib.contextmanager
def _input_file(data: bytes) -> Iterator[int]:
    """A descriptor to read `data` from."""
    descriptor = os.memfd_create("input") if data else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if data:
            os.write(descriptor, data)
            os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _why_not(call: Call, error: OSError) -> str:
    program = call.command[0]
    if not call.directory.is_dir():
        return f"there is no directory {call.directory}"
    if isinstance(error, FileNotFoundError):
        return f"there is no program {program!r}"
    if isinstance(error, PermissionError):
        return f"{program!r} is not executable"
    return f"{program!r}: {error.strerror}"


def _children() -> set[int]:
    """Pids of this process's children, of all its threads."""
    found: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError), open(_CHILDREN.format(thread)) as file:
            found.update(int(pid) for pid in file.read().split())
    return found


def _collect(pid: int) -> bool:
    """Whether a child has ended; its exit is collected."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _wait(pidfd: int, limit: Limit) -> None:
    """Waits for the end of a process, or raises what `limit` says."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(limit.fileno(), select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poll.poll(limit.remaining * 1000 + 1)]
        if pidfd in ready:
            return
        limit.check()


def open_output(path: Path) -> int:
    """A descriptor that appends to a file; the file is made where there is none.

    Raises:
        OSError: it is a link or no plain file, has another name elsewhere, or cannot be written.
    """
    # O_NONBLOCK: opening a pipe would wait for a reader.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o666)
    wrong = unfit_output(os.fstat(descriptor))
    if wrong:
        os.close(descriptor)
        raise OSError(None, wrong, os.fspath(path))
    return descriptor
