"""What launchers leave behind: each has a log and a socket of its own, and a killed one removes neither.

Launchers of one site run on many hosts, and a process id says nothing on another one: each host tidies up its own.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import psutil

from balsam.site import Site

KEPT_LOGS = 20
"""Logs of launchers that have ended, the newest, which are kept on each host."""

_SERVES = re.compile(r"(launcher-(\d+))\.(?:json|sock)$")
_LOG = re.compile(r"launcher-(\d+)(?:-steps)?(?:@(?P<host>[^/]+?))?\.log(?:\.\d+)?$")


def log_name(site: Site) -> str:
    """The name of this launcher's log, without its suffix; on another host than the services' it tells which."""
    host = socket.gethostname()
    return f"launcher-{os.getpid()}" + ("" if host == _services_host(site) else f"@{host}")


def steps_log_name(site: Site) -> str:
    """The name of the log of what does scripts and staging beside this launcher, without its suffix."""
    name, at, host = log_name(site).partition("@")
    return f"{name}-steps{at}{host}"


def tidy(site: Site) -> None:
    """Removes the sockets of launchers of this host that do not live, and all but their newest logs."""
    for path in _of_the_dead(site.run, _SERVES):
        info = site.read_info(path.name.rpartition(".")[0])
        if info.get("host", socket.gethostname()) == socket.gethostname():
            path.with_suffix(".sock").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
    here = None if socket.gethostname() == _services_host(site) else socket.gethostname()
    dead = [path for path in _of_the_dead(site.log, _LOG) if _host(path) == here]
    for path in sorted(dead, key=_age, reverse=True)[KEPT_LOGS:]:
        path.unlink(missing_ok=True)


def _services_host(site: Site) -> str:
    if (endpoint := site.endpoint()) is not None:
        return endpoint.host
    return str(site.read_info("jobstore").get("host") or socket.gethostname())


def _host(log: Path) -> str | None:
    match = _LOG.match(log.name)
    return match["host"] if match else None


def _of_the_dead(directory: Path, names: re.Pattern[str]) -> list[Path]:
    found = [(path, names.match(path.name)) for path in sorted(directory.iterdir())]
    return [path for path, match in found if match and not psutil.pid_exists(int(re.findall(r"\d+", match[0])[0]))]


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
