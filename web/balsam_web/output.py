"""The end of a job's output, read from its file and never more than so much of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from balsam.commands import POSTPROCESS_LOG, PREPROCESS_LOG, output_name

MOST_BYTES = 65_536


def tail(job: dict[str, Any], most: int = MOST_BYTES) -> dict[str, Any]:
    """The last `most` bytes of what a job's run wrote, as text; `note` says why where there is none.

    `size` is that of the whole, and `start` where the text begins in it [bytes]. Bytes that are no UTF-8 are replaced.
    """
    file = Path(job["working_directory"]) / output_name(job.get("name", ""))
    found: dict[str, Any] = {"path": str(file), "text": "", "size": 0, "start": 0, "note": ""}
    try:
        data, size = _end(file, most)
    except FileNotFoundError:
        return found | {"note": _why_none(job, file)}
    except OSError as error:
        return found | {"note": f"cannot be read: {error.strerror}"}
    return found | {"text": data.decode("utf-8", "replace"), "size": size, "start": size - len(data)}


def _end(file: Path, most: int) -> tuple[bytes, int]:
    """The last bytes of a plain file, and its size.

    What a job has put there instead keeps nobody waiting (a pipe), and leads nowhere (a link).
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(0, "is no plain file")
        opened.seek(max(0, info.st_size - most))
        data = opened.read(most)
        return data, max(info.st_size, len(data))


def _why_none(job: dict[str, Any], file: Path) -> str:
    if job.get("attempt") and not file.parent.exists():
        return f"{file.parent} does not exist on this host, or was removed"
    logs = [log for log in (PREPROCESS_LOG, POSTPROCESS_LOG) if (file.parent / log).exists()]
    return "the job has not run" + (f"; see {' and '.join(logs)} in {file.parent}" if logs else "")
