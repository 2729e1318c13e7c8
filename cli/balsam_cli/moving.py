"""Jobs to and from a file: what is half written never has the name of a whole one."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from balsam.client import Client
from balsam.errors import BalsamError, ValidationError
from balsam.site import sync
from balsam.v1 import archive_service_pb2
from balsam.v1.archive_service_pb2_grpc import ArchiveServiceStub
from balsam_cli.progress import BYTES, Show, bar

pb = archive_service_pb2

STDOUT = "-"
"""Stands for stdout where a file is named."""
_PIECE_BYTES = 256 * 1024
_LONGEST_END = 4096  # bytes of the last line
_LONGEST_CALL = 7 * 86_400.0  # it goes on as long as there is something to send


def export(store: Client, path: Path, request: pb.ExportJobsRequest, *, quiet: bool) -> dict[str, Any]:
    """Writes a file; gives what its header and its end say. There is no file under that name before it is whole.

    Raises:
        ValidationError: the name is that of a device, a pipe or a directory; that is left alone.
        BalsamError: what the job store said; no file is left.
    """
    if path.exists() and not path.is_file():
        raise ValidationError(f"{path} is no file; `balsam export -` writes to stdout, and may be redirected there")
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _open_new(draft) as raw, bar("exporting", None, BYTES, quiet=quiet) as show:
            account = _write(store, request, raw, path.suffix == ".gz", show)
            raw.flush()
            os.fsync(raw.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync(path.parent)
    return account


def export_to_stdout(store: Client, request: pb.ExportJobsRequest) -> dict[str, Any]:
    """Writes the content of a file to stdout; gives what its header and its end say."""
    account = _write(store, request, sys.stdout.buffer, False, lambda _: None)
    sys.stdout.buffer.flush()
    return account


def header(store: Client, request: pb.ExportJobsRequest) -> dict[str, Any]:
    """The header that a file would have now."""
    asked = pb.ExportJobsRequest()
    asked.CopyFrom(request)
    asked.header_only = True
    return _value(b"".join(_contents(store, asked)), "header")


def _write(store: Client, request: pb.ExportJobsRequest, raw: IO[bytes], compress: bool, show: Show) -> dict[str, Any]:
    first, last, written = b"", b"", 0
    packed = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) if compress else contextlib.nullcontext(raw)
    with packed as out:
        for content in _contents(store, request):
            out.write(content)
            written += len(content)
            show(written)
            first = first if b"\n" in first else first + content
            last = (last + content)[-_LONGEST_END:]
    return _value(first.split(b"\n", 1)[0], "header") | _value(last.splitlines()[-1], "end")


def _value(line: bytes, kind: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(line)[kind]
    return value


def _contents(store: Client, request: pb.ExportJobsRequest) -> Iterator[bytes]:
    import grpc

    try:
        for answer in store.stream(ArchiveServiceStub, "ExportJobs", request):
            yield answer.content
    except grpc.RpcError as error:
        raise store.explained(error) from None


def _open_new(path: Path) -> IO[bytes]:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:  # the user knows the directory, and not the name of the draft
        raise OSError(error.errno, error.strerror, str(path.parent)) from None
    return os.fdopen(descriptor, "wb")


def import_file(store: Client, path: Path, *, validate_only: bool, quiet: bool) -> pb.ImportJobsResponse:
    """Sends a file to the job store, which takes the jobs, or only says what would become of them.

    Raises:
        ValidationError: the file is damaged; names the line.
    """
    with _bar(f"{'checking' if validate_only else 'importing'} {path.name}", path, quiet) as show:
        answer: pb.ImportJobsResponse = _send(
            store,
            "ImportJobs",
            path,
            lambda content: pb.ImportJobsRequest(content=content, validate_only=validate_only),
            show,
        )
    return answer


def remove_archived(store: Client, path: Path, *, quiet: bool) -> pb.RemoveArchivedJobsResponse:
    """Deletes the jobs that an archive holds, as far as they are what it says of them.

    Raises:
        ValidationError: the file is damaged; names the line.
    """
    with _bar(f"deleting what is in {path.name}", path, quiet) as show:
        answer: pb.RemoveArchivedJobsResponse = _send(
            store, "RemoveArchivedJobs", path, lambda content: pb.RemoveArchivedJobsRequest(content=content), show
        )
    return answer


def _bar(what: str, path: Path, quiet: bool) -> contextlib.AbstractContextManager[Show]:
    """A bar for what is read of a file; one that is not there is told of where it is opened."""
    return bar(what, path.stat().st_size if path.exists() else 0, BYTES, quiet=quiet)


def _send(store: Client, method: str, path: Path, message: Callable[[bytes], Any], show: Show) -> Any:
    problems: list[BalsamError | OSError] = []

    def messages() -> Iterator[Any]:
        try:
            for content in _read(path, show):
                yield message(content)
        except (BalsamError, OSError) as error:
            problems.append(error)  # gRPC would hide it

    with path.open("rb"):
        pass  # that it can be read is seen before anything is asked
    try:
        answer = store.call(ArchiveServiceStub, method, messages, _LONGEST_CALL)
    except BalsamError:
        if problems:
            raise problems[0] from None
        raise
    if problems:
        raise problems[0]
    return answer


def _read(path: Path, show: Show) -> Iterator[bytes]:
    """The content of a file, without compression. Raises ValidationError if that is damaged."""
    lines = 0
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if packed else contextlib.nullcontext(raw) as file:
                while content := file.read(_PIECE_BYTES):
                    lines += content.count(b"\n")
                    show(raw.tell())
                    yield content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValidationError(
            f"{path} is damaged after line {lines}: {error}; take another copy of it", reason="DAMAGED", field="line"
        ) from None
