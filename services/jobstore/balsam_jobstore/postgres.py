"""A private PostgreSQL cluster: made, started and stopped with the programs of an installation that is found.

It listens on a Unix socket only and asks for a password, which lies in a file that only its owner can read; libpq reads
it there, so no address, log or argument list ever holds it.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import urlencode

import psutil

from balsam.errors import SiteError
from balsam.site import sync, write_secret
from balsam_jobstore.postgres_programs import environment, find_programs, other_user

USER = "balsam"
DATABASE = "postgres"
PORT = 5432
"""Only part of the socket's name: nothing listens on the network."""

_LONGEST_SOCKET_PATH = 100  # bytes; the system's limit is 107
_POLL_SECONDS = 0.01

_OPTIONS = {
    "listen_addresses": "",
    "port": str(PORT),
    "synchronous_commit": "on",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # A statement holds users' data, which belongs in no log.
    "log_min_error_statement": "panic",
}
_SYNCED = ("fsync", "full_page_writes")


class Stop(enum.Enum):
    """How a server is stopped, as PostgreSQL names it: the signal it is sent."""

    SMART = signal.SIGTERM
    """When the last client has left."""
    FAST = signal.SIGINT
    """Now: clients are cut off, everything is written."""
    IMMEDIATE = signal.SIGQUIT
    """Like a crash: the next start recovers."""


class Cluster:
    """A PostgreSQL cluster in a directory of its own. Making one of these touches nothing.

    Args:
        directory: holds the data and the password; made by `init`, its parent exists.
        socket_directory: where the server puts its socket; exists, closed to everyone else.
        durable: False, for tests only: what is committed may be lost when the machine goes down.
    """

    def __init__(self, directory: Path, socket_directory: Path, *, durable: bool = True) -> None:
        self.directory = directory.absolute()
        self.socket_directory = socket_directory.absolute()
        self.durable = durable
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.directory / "data"

    @property
    def password_file(self) -> Path:
        """The password, in the form that libpq reads."""
        return self.directory / "pgpass"

    @property
    def url(self) -> str:
        """Address for SQLAlchemy, valid once the server has started. Holds no secret."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Address of one of the cluster's databases."""
        query = urlencode({"host": self.socket_directory, "port": PORT, "passfile": self.password_file})
        return f"postgresql+psycopg2://{USER}@/{database}?{query}"

    def init(self) -> None:
        """Makes the cluster, all or nothing; does nothing where there is one.

        Raises:
            SiteError: no programs, no room, or not permitted.
        """
        if self.directory.exists():
            return
        draft = self.directory.with_name(self.directory.name + ".new")
        try:
            shutil.rmtree(draft, ignore_errors=True)  # of an attempt that was cut off
            draft.mkdir(mode=0o700)
            self._initdb(draft)
            draft.rename(self.directory)
            sync(self.directory.parent)
        except OSError as error:
            raise SiteError(f"cannot make a database in {self.directory}: {error.strerror}") from None

    def _initdb(self, draft: Path) -> None:
        password = secrets.token_urlsafe(32)
        initial = draft / "password"
        write_secret(initial, password)
        command = [
            *other_user(),
            os.fspath(find_programs().directory / "initdb"),
            f"--pgdata={draft / 'data'}",
            f"--username={USER}",
            f"--pwfile={initial}",
            "--auth-local=scram-sha-256",
            "--auth-host=reject",
            # Texts are compared byte by byte, as in SQLite.
            "--encoding=UTF8",
            "--locale=C",
            "--data-checksums",
            *([] if self.durable else ["--no-sync"]),
        ]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(), check=False
        )
        initial.unlink()
        if done.returncode:
            raise SiteError(f"cannot make a PostgreSQL database: {_reason(done.stderr)}")
        write_secret(draft / "pgpass", f"*:*:*:{USER}:{password}")

    def attach(self) -> None:
        """Finds the server that another process has started.

        Raises:
            SiteError: none runs.
        """
        if not self._is_ready():
            raise SiteError(f"the database server of {self.directory.parent.parent} does not run: use `balsam up`")

    def pid(self) -> int | None:
        """Process id of the server, if it runs."""
        process = self._server(self._pid_file())
        return process.pid if process else None

    def start(self, log_file: Path, patience: float = 60.0) -> None:
        """Starts the server, or attaches to the one that runs; returns when it accepts connections.

        Makes the cluster where there is none.

        Args:
            log_file: the server's output is appended here.
            patience: how long it may take, recovery after a crash included [s].

        Raises:
            SiteError: it does not start; says why.
        """
        self.init()
        deadline = time.monotonic() + patience
        if self.pid() is None:
            self._end_orphans()
            if self._process is not None:
                self._process.poll()  # takes leave of one that was killed
            self._remove_damaged_locks()
            self._launch(log_file)
        while not self._is_ready():
            if self._process is not None and self._process.poll() is not None:
                self._process = None
                raise SiteError(f"PostgreSQL does not start: {_reason(_tail(log_file))}; see {log_file}")
            if time.monotonic() > deadline:
                raise SiteError(f"PostgreSQL is not ready after {patience:g} s; see {log_file}")
            time.sleep(_POLL_SECONDS)

    def _is_ready(self) -> bool:
        lines = self._pid_file()
        if [line.strip() for line in lines[7:8]] != ["ready"] or self._server(lines) is None:
            return False
        # One that ran already may listen in another place than we would have chosen.
        self.socket_directory = Path(lines[4])
        return True

    def _launch(self, log_file: Path) -> None:
        self._check_socket_path()
        variables = environment()
        stale = [line for line in self._pid_file()[:1] if line.strip().isdigit()]
        if stale:
            # It was killed, and its number may belong to somebody else by now. PostgreSQL disregards this one.
            variables["PG_GRANDPARENT_PID"] = stale[0]
        postgres = find_programs(self._major_version()).directory / "postgres"
        command = [*other_user(), os.fspath(postgres), "-D", os.fspath(self.data)]
        for name, value in self._options().items():
            command += ["-c", f"{name}={value}"]
        try:
            with log_file.open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env=variables,
                    start_new_session=True,  # a Ctrl-C is for us; the server ends when it is told
                )
        except OSError as error:
            raise SiteError(f"PostgreSQL does not start: {error.strerror}: {error.filename}") from None

    def _major_version(self) -> int:
        try:
            return int((self.data / "PG_VERSION").read_text())
        except (OSError, ValueError):
            raise SiteError(f"{self.data} is not the data directory of a PostgreSQL server") from None

    def _options(self) -> dict[str, str]:
        quoted = os.fspath(self.socket_directory).replace('"', '""')
        synced = dict.fromkeys(_SYNCED, "on" if self.durable else "off")
        return _OPTIONS | synced | {"unix_socket_directories": f'"{quoted}"'}

    def _check_socket_path(self) -> None:
        path = self.socket_directory / f".s.PGSQL.{PORT}"
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            raise SiteError(f"{path} is too long for a socket: at most {_LONGEST_SOCKET_PATH} bytes")
        if "," in os.fspath(path):
            raise SiteError(f"{path} cannot be the path of a PostgreSQL socket: it holds a comma")

    def stop(self, how: Stop = Stop.FAST, patience: float = 60.0) -> None:
        """Stops the server, whoever started it, and waits for its end; does nothing where none runs.

        Raises:
            SiteError: it still runs after `patience` seconds.
        """
        server = self._server(self._pid_file())
        if server is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            server.send_signal(how.value)
        if not _have_ended([server], patience):
            raise SiteError(f"PostgreSQL (pid {server.pid}) still runs {patience:g} s after {how.value.name}")
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _end_orphans(self) -> None:
        """Ends what a killed server has left: a connection that computes notices its end only much later."""
        if not (self.data / "postmaster.pid").exists():
            return
        orphans = [process for process in psutil.process_iter() if self._is_ours(process)]
        for process in orphans:
            process.kill()
        _have_ended(orphans, patience=5.0)

    def _remove_damaged_locks(self) -> None:
        """No process of ours is left, so no lock file means anything; PostgreSQL refuses those that it cannot read."""
        for lock in (self.data / "postmaster.pid", self.socket_directory / f".s.PGSQL.{PORT}.lock"):
            with contextlib.suppress(OSError):
                first = lock.read_bytes().split(b"\n")[0].strip().lstrip(b"-")
                if not first.isdigit():
                    lock.unlink()

    def _pid_file(self) -> list[str]:
        """Its lines: pid, data directory, start time, port, socket directory, address, memory, state."""
        try:
            return (self.data / "postmaster.pid").read_text(errors="replace").splitlines()
        except OSError:
            return []

    def _server(self, pid_file: list[str]) -> psutil.Process | None:
        try:
            process = psutil.Process(int(pid_file[0]))
        except (IndexError, ValueError, psutil.Error):
            return None
        return process if self._is_ours(process) else None

    def _is_ours(self, process: psutil.Process) -> bool:
        """Whether a process belongs to this cluster: they all work in its data directory."""
        try:
            return process.name() == "postgres" and os.path.samefile(process.cwd(), self.data)
        except (OSError, psutil.Error):
            return False


def _have_ended(processes: list[psutil.Process], patience: float) -> bool:
    """Waits until none of them runs, or for `patience` seconds."""
    deadline = time.monotonic() + patience
    while any(map(_runs, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _runs(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended, and that nobody has taken leave of, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _reason(output: str) -> str:
    """The line of a program's output that says what was wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"FATAL:|PANIC:|error:|unshare:|invalid", line)]
    reason = (telling or lines or ["it says nothing"])[-1]
    if "unshare:" in reason:
        reason += "; PostgreSQL does not run as root: use another account, or give `database` the URL of a server"
    return reason


def _tail(file: Path, size: int = 4000) -> str:
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - size))
        return log.read().decode("utf-8", "replace")
