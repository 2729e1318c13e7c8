"""Logs of the services and launchers: one file a process in ``SITE/log``, rotated."""

from __future__ import annotations

import logging
import logging.handlers
import sys
import time

from balsam.site import Site

FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"


def open_log(site: Site, service: str, *, echo: bool = False) -> None:
    """Sends this process's log to ``SITE/log/SERVICE.log``; `echo`: to stderr as well."""
    settings = site.settings
    site.log.mkdir(exist_ok=True)
    file = logging.handlers.RotatingFileHandler(
        site.log / f"{service}.log",
        maxBytes=settings.log_max_bytes,
        backupCount=settings.log_backups,
        encoding="utf-8",
        errors="backslashreplace",
    )
    handlers: list[logging.Handler] = [file]
    if echo:
        handlers.append(logging.StreamHandler(sys.stderr))
    formatter = logging.Formatter(FORMAT, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=settings.log_level, handlers=handlers, force=True)
    # A full disk under log/ must not stop a service, nor fill its stderr.
    logging.raiseExceptions = False
    logging.getLogger("grpc").setLevel(logging.WARNING)
