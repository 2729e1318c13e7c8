"""A launcher's ledger: results of runs, on disk before they are reported, so that they outlive the launcher too.

One file a launcher, ``SITE/ledger/HOST-PID-RANDOM``, locked as long as its launcher lives. A record is a mark, length
and checksum, and a `RecoverReportsRequest`. What it holds may have been acknowledged: the job store refuses that, so
that nothing need be written when an acknowledgement comes. A file without a living launcher is sent to the job store
by the scheduler (`recover`), and removed.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import socket
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from balsam import failpoints
from balsam.errors import BalsamError, ResourceExhausted, Unavailable
from balsam.rpc import Connection
from balsam.site import Site
from balsam.states import State
from balsam.v1 import lease_pb2, session_service_pb2
from balsam.v1.session_service_pb2_grpc import SessionServiceStub

log = logging.getLogger("balsam.ledger")

Request = session_service_pb2.RecoverReportsRequest

_MARK = b"\xbaLdg"
_HEAD = struct.Struct("<4sII")  # mark, length, checksum
_RECORD_REPORTS = 500
_SMALL_BYTES = 64 * 1024
_LARGE_BYTES = 4 * 1024 * 1024
_RESULTS = frozenset({int(State.RUN_DONE), int(State.RUN_ERROR)})


def directory(site: Site) -> Path:
    """Where the ledgers of a site's launchers are."""
    return site.ledgers


def holds_result(report: lease_pb2.Report) -> bool:
    """Whether a report tells of a run that ended by itself, which is what must not be lost."""
    return bool(report.passages) and report.passages[-1].state in _RESULTS


class Ledger:
    """The file of this process; made when there is something to write. A disk that refuses costs the file, no more."""

    def __init__(self, site: Site) -> None:
        self._directory = directory(site)
        self._path = self._new_path()
        self._descriptor = -1
        self._size = 0
        self._large = _LARGE_BYTES
        self._failed = False

    @property
    def is_large(self) -> bool:
        """Whether it is time to write down anew what still counts."""
        return self._size > self._large

    def append(self, session_id: str, reports: Iterable[lease_pb2.Report]) -> bool:
        """Writes down the results among these reports; returns whether there were any. Survives the process's death.

        Args:
            session_id: the session under which their jobs are leased.
            reports: what is about to be reported.
        """
        results = [report for report in reports if holds_result(report)]
        for start in range(0, len(results), _RECORD_REPORTS):
            chunk = results[start : start + _RECORD_REPORTS]
            self._write(encode(Request(session_id=session_id, reports=chunk)))
            failpoints.hit("ledger.after-write")
        return bool(results)

    def sync(self) -> None:
        """Makes what was written survive the host's death as well. Blocks; may be called from another thread."""
        descriptor = self._descriptor
        if descriptor >= 0:
            try:
                os.fdatasync(descriptor)
            except OSError as error:
                self._complain(error)

    def settle(self) -> None:
        """Everything that was written has been acknowledged."""
        if self._size > _SMALL_BYTES:
            os.ftruncate(self._descriptor, 0)
            self._size = 0

    def restart(self, session_id: str, reports: Iterable[lease_pb2.Report]) -> None:
        """Begins a new file with these, which are all that is not acknowledged, in place of the old."""
        old_path, old = self._path, self._descriptor
        self._path, self._descriptor, self._size = self._new_path(), -1, 0
        self.append(session_id, reports)
        self._large = max(_LARGE_BYTES, 4 * self._size)
        if old >= 0:
            old_path.unlink(missing_ok=True)
            os.close(old)

    def remove(self) -> None:
        """Removes the file: everything in it has been acknowledged, or is written down elsewhere."""
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            self.close()

    def close(self) -> None:
        """Leaves the file to be recovered."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._size = 0

    def _new_path(self) -> Path:
        return self._directory / f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"

    def _write(self, data: bytes) -> None:
        try:
            if self._descriptor < 0:
                self._open()
            failpoints.hit("ledger.before-write")
            while data:
                written = os.write(self._descriptor, data)
                self._size += written
                data = data[written:]
            self._failed = False
        except OSError as error:
            self._complain(error)

    def _open(self) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        while self._descriptor < 0:
            descriptor = os.open(self._path, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError as error:
                log.warning("this file system knows no locks (%s)", error)
            if _is_still(self._path, descriptor):
                self._descriptor = descriptor
            else:
                os.close(descriptor)  # taken for a dead launcher's before it was locked

    def _complain(self, error: OSError) -> None:
        if not self._failed:
            log.warning("cannot write the ledger %s: %s; going on without it", self._path, error.strerror)
        self._failed = True


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def encode(request: Request) -> bytes:
    """One record."""
    body = request.SerializeToString()
    return _HEAD.pack(_MARK, len(body), zlib.crc32(body)) + body


def decode(data: bytes) -> Iterator[Request]:
    """The records that are whole; what is damaged between them is passed over."""
    at = 0
    while (at := data.find(_MARK, at)) >= 0 and len(data) - at >= _HEAD.size:
        _, length, checksum = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(body) == length and zlib.crc32(body) == checksum:
            yield Request.FromString(body)
            at += _HEAD.size + length
        else:
            at += 1


def recover(site: Site, connection: Connection) -> int:
    """Sends the ledgers of dead launchers to the job store and removes them; returns how many results counted.

    Raises:
        Unavailable: the job store is away; what is left is for the next time.
    """
    counted = 0
    for path in _ledgers(site):
        data = _read_of_the_dead(path, site.settings.lease_seconds)
        if data is None:
            continue
        requests = list(decode(data))
        found = sum(len(request.reports) for request in requests)
        late = sum(_send(connection, request) for request in requests)
        failpoints.hit("ledger.after-recovery")
        path.unlink(missing_ok=True)
        counted += late
        whole = sum(len(encode(request)) for request in requests)
        if whole < len(data):
            log.warning("the ledger %s is damaged: %d of %d bytes cannot be read", path, len(data) - whole, len(data))
        log.info("ledger %s of a dead launcher: %d results, %d of them new to the job store", path.name, found, late)
    return counted


def _ledgers(site: Site) -> Sequence[Path]:
    try:
        return sorted(directory(site).iterdir())
    except FileNotFoundError:
        return ()


def _read_of_the_dead(path: Path, lease_seconds: float) -> bytes | None:
    """The content of a ledger without a launcher; None: it has one, or may have."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            here = path.name.startswith(f"{socket.gethostname()}-")
            # Another host's locks may not reach us.
            if not here and time.time() - os.fstat(file.fileno()).st_mtime < lease_seconds:
                return None
            return file.read()
    except OSError:
        return None


def _send(connection: Connection, request: Request) -> int:
    try:
        answer = connection.call(SessionServiceStub, "RecoverReports", request)
    except (Unavailable, ResourceExhausted):
        raise
    except BalsamError as error:
        log.error("the job store does not take results of a dead launcher: %s", error)
        return 0
    return len(request.reports) - len(answer.refused)
