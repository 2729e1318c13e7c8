"""Jobs that end, and their output until then."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from balsam.client import Client
from balsam.commands import POSTPROCESS_LOG, PREPROCESS_LOG, output_name
from balsam.errors import BalsamError, NotFound, Unavailable
from balsam.event_stream import EventStream
from balsam.states import END, State
from balsam_cli.tail import POLL_SECONDS, Tail


class JobEnd:
    """Knows when a job has ended: told by the job store's event stream, which a thread listens to."""

    def __init__(self, store: Client, job_id: str) -> None:
        self._store = store
        self.job_id = job_id
        """Which job it is."""
        self._changed = threading.Event()
        self._events = EventStream(store, [job_id])
        self.job: dict[str, Any] = {}
        """The job's values as they were when last seen."""
        self.error: BalsamError | None = None
        """Why nothing more will be heard."""
        threading.Thread(target=self._listen, name="job-end", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Waits until the job has ended, at most so long. Returns whether it has.

        Raises:
            BalsamError: nothing more can be heard of it.
        """
        over = self._changed.wait(seconds)
        if self.error is not None:
            raise self.error
        return over

    def close(self) -> None:
        """Listens no more."""
        self._events.close()

    def _listen(self) -> None:
        try:
            for _ in self._events:
                if self._has_ended():
                    break
        except NotFound:
            self.error = NotFound(f"job {self.job_id} was deleted")
        except BalsamError as error:
            self.error = error
        self._changed.set()

    def _has_ended(self) -> bool:
        try:
            self.job = self._store.jobs.get(self.job_id)
        except Unavailable:
            return False  # the stream breaks too; when it stands again, we are asked again
        return State[self.job["state"]] in END


def copy_output(file: Path, ended: Callable[[float], bool], offset: int = 0) -> None:
    """Copies a growing file to stdout, byte for byte, until `ended(seconds)` says that no more comes."""
    tail = Tail(file, offset)
    over = False
    while True:
        data = tail.read()
        if data:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        elif over:
            return
        else:
            over = ended(POLL_SECONDS)


def output_file(job: dict[str, Any]) -> Path:
    """Where the output of a job's run goes."""
    return Path(job["working_directory"]) / output_name(job.get("name", ""))


MOST_BYTES = 1 << 20
"""Of an output, in one record."""


def output_record(job: dict[str, Any], file: Path) -> dict[str, Any]:
    """The end of an output as a record; bytes that are no UTF-8 are replaced. Without a file, `output` is null."""
    size, text = 0, None
    if file.exists():
        size = file.stat().st_size
        text = Tail(file, max(0, size - MOST_BYTES)).read().decode("utf-8", "replace")
    return {"job_id": job["job_id"], "state": job["state"], "file": str(file), "bytes": size, "output": text}


def why_no_output(job: dict[str, Any], file: Path) -> str:
    """What to say of a job whose run wrote no file."""
    if job.get("attempt") and not file.parent.exists():
        return f"{file.parent} does not exist on this host, or was removed"
    logs = [log for log in (PREPROCESS_LOG, POSTPROCESS_LOG) if (file.parent / log).exists()]
    also = f"; see {' and '.join(logs)} in {file.parent}" if logs else ""
    message = f": {job['message']}" if job.get("message") else ""
    return f"the job has not run; it is {job['state']}{message}{also}"
