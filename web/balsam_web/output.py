"""The end of a job's output, and never more than so much of it: from its file, or as its launcher sends it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from balsam.commands import POSTPROCESS_LOG, PREPROCESS_LOG
from balsam.outputs import NO_RUN, output_of
from balsam.states import END, State
from balsam_web.sent_output import SentOutputs

MOST_BYTES = 65_536


def tail(job: dict[str, Any], data: Path, sent: SentOutputs) -> dict[str, Any]:
    """The end of what a job's run wrote, as text; `note` says why there is none, or whence it comes.

    `size` is that of the whole, and `start` where the text begins in it [bytes]. Bytes that are no UTF-8 are replaced.

    Args:
        job: the values of its fields.
        data: the site's directory for working directories.
        sent: what launchers send, of runs whose files cannot be read here.
    """
    file = output_of(job, data)
    found: dict[str, Any] = {"path": str(file.path), "text": "", "size": 0, "start": 0, "note": ""}
    try:
        text, start = file.end(MOST_BYTES)
    except OSError as error:
        why = _why_none(job, file.path) if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        return found | _elsewhere(job, sent, why)
    return found | {"text": text.decode("utf-8", "replace"), "size": start + len(text), "start": start}


def _elsewhere(job: dict[str, Any], sent: SentOutputs, why: str) -> dict[str, Any]:
    """What the job's launcher sends; `why` it is not read from its file."""
    output = sent.of(job, may_run=bool(job.get("attempt")) and State[job["state"]] not in END)
    if output is None:
        return {"note": why}
    text, start = output.end()
    if not text and output.problem is not None:
        return {"note": why if output.problem.reason == NO_RUN else f"{why}; {output.problem}"}
    note = f"sent by its launcher: {why}" + (f"; {output.problem}" if output.problem is not None else "")
    return {"text": text.decode("utf-8", "replace"), "size": start + len(text), "start": start, "note": note}


def _why_none(job: dict[str, Any], file: Path) -> str:
    if job.get("attempt") and not os.path.exists(file.parent):
        return f"{file.parent} does not exist on this host, or was removed"
    logs = [log for log in (PREPROCESS_LOG, POSTPROCESS_LOG) if os.path.exists(file.parent / log)]
    return "the job has not run" + (f"; see {' and '.join(logs)} in {file.parent}" if logs else "")
