"""The output of a job's run: its file where that can be read here, else what its launcher sends by way of the job
store."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from balsam.client import Client
from balsam.commands import POSTPROCESS_LOG, PREPROCESS_LOG
from balsam.errors import BalsamError, Unavailable
from balsam.output_calls import OutputStream
from balsam.outputs import NO_RUN, output_of
from balsam.states import END, State
from balsam_cli.tail import POLL_SECONDS, Tail
from balsam_cli.terminal import note

MOST_BYTES = 1 << 20
"""Of an output, in one record."""
_RETRY_SECONDS = 1.0


class JobOutput:
    """An output, from an offset on.

    Args:
        store: the line to the job store.
        job: the values of the job's fields.
        offset: of the first byte wanted; negative: so many before the end of what there is.
    """

    def __init__(self, store: Client, job: dict[str, Any], offset: int = 0) -> None:
        self.job_id = str(job["job_id"])
        self.file = output_of(job, store.site.data)
        """Where it is, on hosts that have it."""
        self.is_here = False
        """Whether the file can be read here, as far as `read` has seen."""
        self.is_anywhere = False
        """Whether there was one, here or elsewhere."""
        self.problem = ""
        """Why it cannot be read, if it is there; for people."""
        self._store = store
        self._tail = Tail(self.file, offset)
        self._stream: OutputStream | None = None
        self._is_closed = False

    @property
    def path(self) -> Path:
        """For people."""
        return self.file.path

    @property
    def offset(self) -> int:
        """Position of the next byte."""
        return self._tail.offset

    def read(self) -> bytes:
        """What has come in the file since the last call, at most a megabyte; nothing where it cannot be read here."""
        try:
            data = self._tail.read()
        except OSError as error:
            self.is_here = False
            self.problem = f"{error.filename or self.path}: {error.strerror}"
            return b""
        self.is_here = self._tail.is_there
        self.is_anywhere |= self.is_here
        return data

    def sent(self, *, follow: bool) -> Iterator[bytes]:
        """What the launcher sends of what has not been read; to follow, until the run ends.

        Raises:
            BalsamError: see `OutputStream`.
        """
        self._stream = self._store.outputs.read(self.job_id, self._tail.offset, follow=follow)
        if self._is_closed:
            return
        for data, start in self._stream:
            self._tail.offset = start + len(data)
            self.is_anywhere = True
            yield data
        self.is_anywhere = True

    def close(self) -> None:
        """Ends what is sent, from any thread."""
        self._is_closed = True
        if self._stream is not None:
            self._stream.close()


class Follower:
    """Follows an output wherever the job runs, as it runs: asks its launcher each time something was heard of the job.

    Args:
        output: the output.
        changes: counts what was heard of the job.
        tell: is told, in one line, when the line breaks.
    """

    def __init__(self, output: JobOutput, changes: Callable[[], int], tell: Callable[[str], object] = note) -> None:
        self.is_cut = False
        """The line broke, and what came after that has not been read."""
        self._output = output
        self._changes = changes
        self._tell = tell
        self._asked_at = -1
        self._told = ""
        self._not_before = 0.0

    def pieces(self) -> Iterator[bytes]:
        """What comes now, from the file or the launcher. From the latter until the run ends, or the line breaks."""
        while data := self._output.read():
            yield data
        if self._output.is_here:
            self.is_cut = False  # what the line did not bring is in the file, which was not there when it was asked for
            return
        changes = self._changes()
        if changes == self._asked_at or time.monotonic() < self._not_before:
            return
        self._asked_at = changes
        try:
            for data in self._output.sent(follow=True):
                self._told = ""
                yield data
            self.is_cut = False
        except Unavailable as error:
            self.is_cut = True
            self._asked_at, self._not_before = -1, time.monotonic() + _RETRY_SECONDS
            self._say(f"{error} (going on as soon as it can be read again)")
        except BalsamError as error:
            if error.reason != NO_RUN:
                self._output.problem = str(error)
                self._say(str(error))

    def _say(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._tell(text)


def copy_output(pieces: Callable[[], Iterator[bytes]], ended: Callable[[float], bool]) -> None:
    """Copies what comes to stdout, byte for byte, until `ended(seconds)` says that no more does."""
    over = False
    while True:
        write(pieces())
        if over:
            return
        over = ended(POLL_SECONDS)


def write(pieces: Iterable[bytes]) -> None:
    """Writes pieces to stdout as they come, byte for byte."""
    for data in pieces:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def there_is(output: JobOutput, job: dict[str, Any]) -> Generator[bytes, None, None]:
    """All that there is of an output now, from the file, or from the launcher that runs the job."""
    while data := output.read():
        yield data
    if output.is_here or State[job["state"]] in END:
        return
    try:
        yield from output.sent(follow=False)
    except BalsamError as error:
        if error.reason != NO_RUN:
            output.problem = str(error)


def first_bytes(pieces: Generator[bytes, None, None], enough: int) -> bytes:
    """Pieces until these are enough bytes, or there are no more: of an output that grows faster than it is read, not
    all that comes."""
    data = bytearray()
    with contextlib.closing(pieces):
        for piece in pieces:
            data += piece
            if len(data) >= enough:
                break
    return bytes(data)


def output_record(store: Client, job: dict[str, Any]) -> dict[str, Any]:
    """The end of an output as a record; bytes that are no UTF-8 are replaced. Where there is none, `output` is null."""
    output = JobOutput(store, job, -MOST_BYTES)
    data = first_bytes(there_is(output, job), MOST_BYTES)[-MOST_BYTES:]
    text = data.decode("utf-8", "replace") if output.is_anywhere else None
    size = output.offset if output.is_anywhere else 0
    return {"job_id": job["job_id"], "state": job["state"], "file": str(output.path), "bytes": size, "output": text}


def why_no_output(job: dict[str, Any], output: JobOutput) -> str:
    """What to say of a job of whose run there is no output to be read."""
    directory = output.path.parent
    if output.problem:
        return output.problem
    if job.get("attempt") and not os.path.exists(directory):
        return f"{directory} does not exist on this host, or was removed"
    logs = [log for log in (PREPROCESS_LOG, POSTPROCESS_LOG) if os.path.exists(directory / log)]
    also = f"; see {' and '.join(logs)} in {directory}" if logs else ""
    message = f": {job['message']}" if job.get("message") else ""
    return f"the job has not run; it is {job['state']}{message}{also}"
