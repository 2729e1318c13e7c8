"""Logs of the services and launchers: one file a process in ``SITE/log``, rotated."""

from __future__ import annotations

import contextlib
import itertools
import logging
import logging.handlers
import os
import re
import shutil
import sys
import time
from pathlib import Path

from balsam.site import Site

FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"


def open_log(site: Site, service: str, *, echo: bool = False) -> None:
    """Sends this process's log to ``SITE/log/SERVICE.log``, or to stderr where that cannot be had.

    `echo`: to stderr as well.
    """
    settings = site.settings
    handlers: list[logging.Handler] = []
    problem = ""
    try:
        site.log.mkdir(mode=0o700, exist_ok=True)
        handlers.append(_RotatingFile(site.log / f"{service}.log", settings.log_max_bytes, settings.log_backups))
    except OSError as error:
        problem = f"no log in {site.log}: {error.strerror}; it goes to stderr"
    if echo or problem:
        handlers.append(logging.StreamHandler(sys.stderr))
    for handler in handlers:
        handler.setFormatter(formatter())
    logging.basicConfig(level=settings.log_level, handlers=handlers, force=True)
    # A full disk under log/ must not stop a service, nor fill its stderr.
    logging.raiseExceptions = False
    logging.getLogger("grpc").setLevel(logging.WARNING)
    if problem:
        logging.getLogger("balsam").error("%s", problem)


class _Formatter(logging.Formatter):
    """What a message holds of what users, jobs and programs have said steers no terminal, and begins no line that
    looks like one of ours."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """One message; further lines of it are indented."""
        record.message = _CONTROL.sub("\ufffd", record.message).replace("\n", "\n    ")
        return super().formatMessage(record)


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def formatter() -> logging.Formatter:
    """Of a line in a log: the time is in UTC."""
    result = _Formatter(FORMAT, "%Y-%m-%dT%H:%M:%S")
    result.converter = time.gmtime
    return result


class _RotatingFile(logging.handlers.RotatingFileHandler):
    """Kept at its size also where no older file is kept, which Python's own would let grow for ever."""

    def __init__(self, path: Path, most: int, kept: int) -> None:
        super().__init__(path, maxBytes=most, backupCount=kept, encoding="utf-8", errors="backslashreplace")

    def doRollover(self) -> None:
        """Begins a new file."""
        if self.backupCount == 0:
            os.truncate(self.baseFilename, 0)
        super().doRollover()


def keep_small(site: Site, name: str) -> None:
    """Rotates a file in ``SITE/log`` that another program appends to, and that it cannot be told to open anew.

    What it holds is copied and it is emptied; only what is written between the two, within microseconds, is lost.
    """
    path, settings = site.log / name, site.settings
    try:
        if path.stat().st_size < settings.log_max_bytes:
            return
        older = [path, *(path.with_name(f"{name}.{number}") for number in range(1, settings.log_backups + 1))]
        for source, target in reversed(list(itertools.pairwise(older[1:]))):
            if source.exists():
                source.replace(target)
        if len(older) > 1:
            shutil.copyfile(path, older[1])
        os.truncate(path, 0)
    except OSError:
        # Without room for the copy: the newest is worth more than the rest.
        with contextlib.suppress(OSError):
            os.truncate(path, 0)
