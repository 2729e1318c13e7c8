"""What launchers leave behind: each has a log and a socket of its own, and a killed one removes neither."""

from __future__ import annotations

import re
from pathlib import Path

import psutil

from balsam.site import Site

KEPT_LOGS = 20
"""Logs of launchers that have ended, the newest, which are kept."""

_NAME = re.compile(r"launcher-(\d+)\.(?:log(?:\.\d+)?|json|sock)$")


def tidy(site: Site) -> None:
    """Removes the sockets of launchers that do not live, and all but their newest logs."""
    for path in _of_the_dead(site.run):
        path.unlink(missing_ok=True)
    logs = sorted(_of_the_dead(site.log), key=_age, reverse=True)
    for path in logs[KEPT_LOGS:]:
        path.unlink(missing_ok=True)


def _of_the_dead(directory: Path) -> list[Path]:
    found = [(path, _NAME.match(path.name)) for path in directory.iterdir()]
    return [path for path, match in found if match and not psutil.pid_exists(int(match[1]))]


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
