"""The memory of the automatic submitter, a file in the run directory: what it had begun outlives its process.

Where the file is lost, a launch that was begun is found by whoever looks after launches; see
`balsam_scheduler.batch.looking`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from balsam.errors import SiteError
from balsam.site import Site
from balsam_scheduler.batch.nodes import NodeKind, Report
from balsam_scheduler.batch.scene import Memory


def memory_file(site: Site) -> Path:
    """Where it is."""
    return site.run / "service.json"


def load(site: Site) -> Memory:
    """What was remembered. Of a file that is not there, or is damaged: nothing."""
    try:
        values = json.loads(memory_file(site).read_text())
        return _memory(values)
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return Memory()


def _memory(values: dict[str, Any]) -> Memory:
    return Memory(
        sequence=int(values["sequence"]),
        fruitful=tuple(int(one) for one in values["fruitful"]),
        failed={int(launch_id): float(time) for launch_id, time in values["failed"].items()},
        idle_since={str(session): float(time) for session, time in values["idle_since"].items()},
        small_since=None if values["small_since"] is None else float(values["small_since"]),
        pending=None if values["pending"] is None else dict(values["pending"]),
        reports={int(launch_id): _report(report) for launch_id, report in values.get("reports", {}).items()},
        last_seen={int(launch_id): float(time) for launch_id, time in values.get("last_seen", {}).items()},
    )


def _report(values: dict[str, Any]) -> Report:
    kinds = tuple(NodeKind(*(int(number) for number in kind)) for kind in values["kinds"])
    return Report(str(values["queue"]), str(values["sched_flags"]), kinds)


def save(site: Site, memory: Memory) -> None:
    """Writes it if it says something new.

    Raises:
        SiteError: it cannot be written; then nothing must be submitted.
    """
    if load(site) == memory:
        return
    target = memory_file(site)
    draft = target.with_suffix(f".{os.getpid()}.tmp")
    try:
        draft.write_text(json.dumps(dataclasses.asdict(memory)))
        draft.replace(target)
    except OSError as error:
        raise SiteError(f"cannot write {target}: {error.strerror}; nothing is submitted before it can") from None
