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
from io import TextIOWrapper
from pathlib import Path
from typing import IO

from balsam.directories import unfit_output
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
    logging.getLogger("grpc._cython.cygrpc").addFilter(_departure_in_short)
    if problem:
        logging.getLogger("balsam").error("%s", problem)


def _departure_in_short(record: logging.LogRecord) -> bool:
    """gRPC tells with a traceback that a caller has left while an answer was on its way, which callers may do. An
    answer of ours that is too large looks alike, so one line is kept."""
    if not str(record.msg).startswith("ExecuteBatchError raised in core"):
        return True
    record.msg = f"{record.getMessage()}: the caller has left, or the answer is too large for a message"
    record.args, record.exc_info, record.exc_text = (), None, None
    record.levelno, record.levelname = logging.INFO, "INFO"
    return logging.getLogger().isEnabledFor(logging.INFO)


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

    def _open(self) -> TextIOWrapper:
        """Opens the file, if it is one: of a site of a group, others may have put something else there."""
        return os.fdopen(open_plain(self.baseFilename, os.O_APPEND), "a", encoding="utf-8", errors="backslashreplace")

    def doRollover(self) -> None:
        """Begins a new file."""
        if self.backupCount == 0 and self.stream is not None:
            os.ftruncate(self.stream.fileno(), 0)
        super().doRollover()


def open_plain(path: str | os.PathLike[str], flags: int) -> int:
    """A descriptor of a file to write to, made where there is none.

    Raises:
        OSError: it is a link or no plain file, or has another name elsewhere.
    """
    # O_NONBLOCK: opening a pipe would wait for a reader.
    descriptor = os.open(path, flags | os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    wrong = unfit_output(os.fstat(descriptor))
    if wrong:
        os.close(descriptor)
        raise OSError(None, wrong, os.fspath(path))
    return descriptor


def keep_small(site: Site, name: str) -> None:
    """Rotates a file in ``SITE/log`` that another program appends to, and that it cannot be told to open anew.

    What it holds is copied and it is emptied; only what is written between the two, within microseconds, is lost.
    """
    path, settings = site.log / name, site.settings
    try:
        # Of a site of a group, others may have put links there: what these lead to is neither copied nor emptied.
        if path.lstat().st_size < settings.log_max_bytes:
            return
        source = open_plain(path, 0)
    except OSError:
        return
    with open(source, "r+b") as file:
        _keep_copy(file, path, settings.log_backups)
        file.truncate(0)


def _keep_copy(file: IO[bytes], path: Path, kept: int) -> None:
    """Copies a file, and moves older copies on. Without room for it: the newest is worth more than the rest."""
    older = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, kept + 1))]
    with contextlib.suppress(OSError):
        for source, target in reversed(list(itertools.pairwise(older[1:]))):
            if os.path.lexists(source):
                source.replace(target)
        if len(older) > 1:
            older[1].unlink(missing_ok=True)
            with open(older[1], "xb") as copy:
                shutil.copyfileobj(file, copy)
