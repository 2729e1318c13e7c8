"""Balsam: large campaigns of computing jobs.

    from balsam import BalsamJob
    BalsamJob(name="hello", workflow="demo", args="echo hello").save()

The site is the one that `connect` was called with, else ``BALSAM_DB_PATH``, else the nearest directory at or above the
current one that is a site. Importing loads next to nothing: names are found when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from balsam.version import VERSION as __version__

if TYPE_CHECKING:
    from balsam import aio as aio
    from balsam.application import ApplicationDefinition, NoApplication
    from balsam.client import Client, connect
    from balsam.errors import (
        BalsamError,
        Conflict,
        InvalidParentsError,
        InvalidStateError,
        MultipleObjectsReturned,
        NotAllowed,
        NotFound,
        SiteError,
        TaskFailed,
        Unavailable,
        ValidationError,
    )
    from balsam.job import BalsamJob
    from balsam.launch import QueuedLaunch
    from balsam.launcher.futures import FutureTask, WaitResult, as_completed, wait
    from balsam.q import Count, Q

__all__ = [
    "ApplicationDefinition",
    "BalsamError",
    "BalsamJob",
    "Client",
    "Conflict",
    "Count",
    "FutureTask",
    "InvalidParentsError",
    "InvalidStateError",
    "MultipleObjectsReturned",
    "NoApplication",
    "NotAllowed",
    "NotFound",
    "Q",
    "QueuedLaunch",
    "SiteError",
    "TaskFailed",
    "Unavailable",
    "ValidationError",
    "WaitResult",
    "__version__",
    "as_completed",
    "connect",
    "wait",
]

_HOMES = {
    "ApplicationDefinition": "application",
    "NoApplication": "application",
    "BalsamJob": "job",
    "QueuedLaunch": "launch",
    "Client": "client",
    "connect": "client",
    "Q": "q",
    "Count": "q",
    "FutureTask": "launcher.futures",
    "WaitResult": "launcher.futures",
    "as_completed": "launcher.futures",
    "wait": "launcher.futures",
}


def __getattr__(name: str) -> Any:
    if name not in __all__ and name != "aio":
        raise AttributeError(f"module 'balsam' has no attribute {name!r}")
    import importlib

    if name == "aio":
        return importlib.import_module("balsam.aio")
    value = getattr(importlib.import_module(f"balsam.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "aio"})
