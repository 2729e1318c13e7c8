"""Starting one run: its directory, its output file, its environment, the process. As few system calls as can be."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterable

from balsam import failpoints
from balsam.commands import NOT_FOUND_CODE, NOT_STARTED_CODE, base_environment, find_executable
from balsam.directories import open_below, stranger, unfit_output
from balsam_launcher.frames import Start
from balsam_launcher.topology import cores_of_this_host, threads_of

_SHORTAGES = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


class Refused(Exception):
    """This run cannot be started; the reason is for its job."""

    def __init__(self, message: str, code: int = NOT_STARTED_CODE) -> None:
        super().__init__(message)
        self.code = code


class Shortage(Exception):
    """The host is short of processes, memory or descriptors now: to be tried again."""


class Spawner:
    """Starts runs under one base environment: that of this process, read once."""

    def __init__(self) -> None:
        base = base_environment(os.environ)
        self.path = base["PATH"]
        self._base = {os.fsencode(name): os.fsencode(value) for name, value in base.items()}
        self._found: dict[tuple[str, str], str] = {}
        self._places: dict[str, str] = {}
        self._cores: list[tuple[int, ...]] | None = None
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        # Children start with default signal handling, whatever this process was started with.
        ignored = [n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN]
        self._defaults = sorted({*ignored, signal.SIGPIPE, signal.SIGXFSZ})
        self._defaults_but_pipe = [n for n in self._defaults if n != signal.SIGPIPE]

    def start(self, start: Start) -> tuple[int, int]:
        """Starts a run in a session of its own.

        Returns:
            Its pid, and the size that its output file had before.

        Raises:
            Refused: it cannot be started.
            Shortage: not now.
            ValueError: a path, word or variable holds a NUL.
        """
        search = start.variables.get("PATH", self.path)
        self._enter(start.directory, start.root)
        if start.needs:
            self._check(start.needs, search)
        path = self._resolve(start.argv[0], search)
        output, size = _open_output(start.output, start.directory)
        try:
            return self._spawn(path, start, output), size
        except OSError as error:
            remembered = self._found.pop((start.argv[0], search), None)
            if error.errno in _SHORTAGES:
                raise Shortage(error.strerror) from None
            if remembered and find_executable(start.argv[0], search) not in (None, remembered):
                return self.start(start)  # it has moved to another directory of PATH
            raise _refusal(start.argv[0], path, error) from None
        finally:
            os.close(output)

    def _enter(self, directory: str, root: str) -> None:
        """Makes a working directory the current one; where a root is given, by a path below it without links."""
        if not root:
            _enter_any(directory)
            return
        self._enter_below_root(directory, root)
        other = stranger(".", root)
        if other:
            raise Refused(f"cannot use the working directory {directory}: it belongs to {other}")

    def _enter_below_root(self, directory: str, root: str) -> None:
        below = directory.removeprefix(f"{root}/")
        if below == directory:
            raise Refused(f"cannot use the working directory {directory}: it is not under {root}")
        place = f"{self._place(root)}/{below}"
        try:
            os.chdir(directory)
            if os.getcwd() == place:
                return
        except FileNotFoundError:
            if _make_and_enter(place):  # as for nearly every job
                return
        except OSError as error:
            raise _directory_refusal(directory, error) from None
        _enter_below(directory, root, below)

    def _place(self, root: str) -> str:
        """Where a root is, links resolved."""
        if root not in self._places:
            self._places[root] = os.path.realpath(root)
        return self._places[root]

    def _spawn(self, path: str, start: Start, output: int) -> int:
        environment = dict(self._base)
        for name, value in start.variables.items():
            environment[name.encode()] = value.encode()
        failpoints.hit("agent.before-spawn")
        if start.cores:
            return self._bound(start, lambda: self._posix_spawn(path, start, environment, output))
        return self._posix_spawn(path, start, environment, output)

    def _bound(self, start: Start, spawn: Callable[[], int]) -> int:
        """Spawns with the affinity of the run: a child inherits it, and there is no other way to give it one."""
        ours = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, self._threads(start))
        except OSError as error:
            raise Refused(f"cannot bind it to cores {_listed(start.cores)}: {error.strerror}") from None
        try:
            return spawn()
        finally:
            os.sched_setaffinity(0, ours)

    def _threads(self, start: Start) -> set[int]:
        if self._cores is None:
            self._cores = cores_of_this_host()
        try:
            return threads_of(self._cores, start.cores, start.threads_per_core)
        except IndexError:
            raise Refused(
                f"cannot bind it to cores {_listed(start.cores)}: this node has {len(self._cores)}, numbered from 0; "
                "set cores_per_node in settings.toml"
            ) from None

    def _posix_spawn(self, path: str, start: Start, environment: dict[bytes, bytes], output: int) -> int:
        return os.posix_spawn(
            path,
            start.argv,
            environment,
            file_actions=(
                (os.POSIX_SPAWN_DUP2, self._null, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ),
            setsid=True,
            setsigmask=(),
            setsigdef=self._defaults_but_pipe if start.ignore_sigpipe else self._defaults,
        )

    def _resolve(self, word: str, search: str) -> str:
        path = self._found.get((word, search))
        if path is None:
            found = find_executable(word, search)
            if found is None:
                raise Refused(f"no such command: {word}", NOT_FOUND_CODE)
            path = found
            if path.startswith("/"):  # others depend on the directory
                self._found[word, search] = path
        return path

    def _check(self, word: str, search: str) -> None:
        path = self._resolve(word, search)
        if not os.access(path, os.X_OK):
            reason = errno.ENOENT if not os.path.exists(path) else errno.EACCES
            raise _refusal(word, path, OSError(reason, os.strerror(reason)))


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))


def _enter_any(directory: str) -> None:
    try:
        os.chdir(directory)
        return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _directory_refusal(directory, error) from None
    try:
        try:
            os.mkdir(directory)  # mostly, only the last part is missing
        except (FileNotFoundError, FileExistsError):
            os.makedirs(directory, exist_ok=True)
        os.chdir(directory)
    except OSError as error:
        raise _directory_refusal(directory, error) from None


def _make_and_enter(place: str) -> bool:
    """Makes a directory in one that is there, and enters it, in a few calls; False: that is not the whole story."""
    above, _, name = place.rpartition("/")
    try:
        os.chdir(above)
        if os.getcwd() != above:
            return False
        os.mkdir(name)
        os.chdir(name)
        return os.getcwd() == place
    except OSError:
        return False


def _enter_below(directory: str, root: str, below: str) -> None:
    try:
        descriptor = open_below(root, below, make=True)
        try:
            os.fchdir(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _directory_refusal(directory, error) from None


def _directory_refusal(directory: str, error: OSError) -> Exception:
    if error.errno in _SHORTAGES:
        return Shortage(error.strerror)
    where = f"{error.filename}: " if error.filename and error.filename != directory else ""
    return Refused(f"cannot use the working directory {directory}: {where}{error.strerror}")


def _open_output(name: str, directory: str) -> tuple[int, int]:
    """(descriptor, size) of the output file in the current directory. No link is followed, no pipe waited for."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(name, flags, 0o666)
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise Shortage(error.strerror) from None
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise Refused(f"cannot write the output file {directory}/{name}: {reason}") from None
    info = os.fstat(descriptor)
    wrong = unfit_output(info)
    if wrong:
        os.close(descriptor)
        raise Refused(f"cannot write the output file {directory}/{name}: {wrong}")
    return descriptor, info.st_size


def _refusal(word: str, path: str, error: OSError) -> Refused:
    """Why the system would not start a command."""
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR if not os.path.exists(path):
            return Refused(f"no such command: {word}", NOT_FOUND_CODE)
        case errno.ENOENT:
            return Refused(f"cannot start {word}: the interpreter in its first line does not exist")
        case errno.EACCES if os.path.isdir(path):
            return Refused(f"cannot start {word}: it is a directory")
        case errno.EACCES:
            return Refused(f"cannot start {word}: it is not executable; try `chmod +x`")
        case errno.ENOEXEC:
            return Refused(
                f"cannot start {word}: it is neither a program nor a script with a first line like #!/bin/sh"
            )
        case errno.E2BIG:
            return Refused(f"cannot start {word}: its arguments and environment are too long for this system")
        case _:
            return Refused(f"cannot start {word}: {error.strerror}")
