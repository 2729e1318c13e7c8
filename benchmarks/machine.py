"""The machine that a benchmark ran on, and the versions of what it ran."""

from __future__ import annotations

import datetime
import os
import platform
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from balsam.errors import SiteError
from balsam.version import VERSION
from balsam_jobstore import filesystems
from balsam_jobstore.postgres_programs import find_programs

IN_MEMORY = ("tmpfs", "ramfs")
"""File systems on which nothing is durable, so that commits cost nothing."""

BUSY = 0.3
"""With a higher load than this, others take what the figures need."""


def describe(directory: Path) -> dict[str, Any]:
    """Its size, versions and load as plain data; memory is in bytes, and the load is how many processes want to run.

    Args:
        directory: where the benchmarks write.
    """
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load": os.getloadavg()[0],
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "filesystem": filesystems.kind(directory),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "postgres": _postgres_version(),
        "balsam": VERSION,
        "commit": _commit(),
    }


def line(machine: dict[str, Any]) -> str:
    """The same in one line."""
    return (
        f"{machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, Linux {machine['kernel']},"
        f" {machine['filesystem']}, Python {machine['python']}, SQLite {machine['sqlite']},"
        f" PostgreSQL {machine['postgres'] or '-'}"
    )


def _postgres_version() -> str:
    try:
        program = find_programs().directory / "postgres"
    except SiteError:
        return ""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip().rpartition(" ")[2]


def _commit() -> str:
    """Which sources these are; empty where that cannot be told."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
