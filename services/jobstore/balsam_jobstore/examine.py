"""Looks at the database of a site without changing it: ``python -m balsam_jobstore.examine --site PATH``.

Prints one JSON object, for `balsam doctor`. Starts no database server and makes no file that stays.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from balsam.errors import BalsamError, SiteError
from balsam.site import Site, open_site
from balsam_jobstore import migrate
from balsam_jobstore.database import Database
from balsam_jobstore.postgres import Cluster
from balsam_jobstore.postgres_programs import find_programs

_STEPS = 10_000  # of SQLite's machine between two looks at the clock


def main() -> int:
    """Prints the report; 0 unless the site itself cannot be opened."""
    parser = argparse.ArgumentParser(prog="balsam_jobstore.examine", description=__doc__)
    parser.add_argument("--site", required=True, help="path of the site")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long the integrity check may take")
    options = parser.parse_args()
    try:
        report = examine(open_site(options.site), options.seconds)
    except BalsamError as error:
        print(f"balsam job store: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report))
    return 0


def examine(site: Site, seconds: float) -> dict[str, Any]:
    """What is known of the database of a site.

    ``state`` is "none" (not made yet), "stopped" (a private cluster that does not run), "reached" or "trouble", which
    ``trouble`` explains. ``integrity`` is "ok", "unknown" (not looked at, or not done in `seconds`), or what is wrong.
    """
    report: dict[str, Any] = {
        "database": site.settings.database if site.settings.database in ("sqlite", "postgres") else "url",
        "state": "none",
        "trouble": "",
        "revision": "",
        "newest_revision": migrate.HEAD,
        "integrity": "unknown",
    }
    try:
        if report["database"] == "sqlite":
            _examine_sqlite(site.database / "balsam.db", seconds, report)
        elif report["database"] == "postgres":
            _examine_cluster(site, report)
        else:
            _examine_server(Database(site.settings.database), report)
    except (SiteError, OSError) as error:
        report |= {"state": "trouble", "trouble": str(error)}
    return report


def _examine_sqlite(file: Path, seconds: float, report: dict[str, Any]) -> None:
    if not file.exists() or not file.stat().st_size:
        return
    # Without a log of writes nobody has the file open, and opening it as one that never changes leaves no files behind.
    log = file.with_name(f"{file.name}-wal")
    alone = not log.exists()
    address = f"file:{quote(os.fspath(file))}?mode=ro" + ("&immutable=1" if alone else "")
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=seconds)) as connection:
            report["state"] = "reached"
            report["revision"] = _sqlite_revision(connection)
            report["integrity"] = _quick_check(connection, seconds)
    except sqlite3.Error as error:
        if alone and log.exists():  # somebody began to write while we looked
            report["integrity"] = "unknown"
        elif isinstance(error, sqlite3.OperationalError):
            report |= {"state": "trouble", "trouble": str(error)}
        else:
            report |= {"state": "reached", "integrity": str(error)}


def _sqlite_revision(connection: sqlite3.Connection) -> str:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return ""
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""


def _quick_check(connection: sqlite3.Connection, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return "unknown"
        raise


def _examine_cluster(site: Site, report: dict[str, Any]) -> None:
    cluster = Cluster(site.database / "postgres", site.run)
    made = cluster.directory.exists()
    report |= {"password_file": str(cluster.password_file), "password_file_mode": "", "pid": None, "programs": ""}
    if made:
        with contextlib.suppress(OSError):
            report["password_file_mode"] = f"{cluster.password_file.stat().st_mode & 0o777:04o}"
        if not cluster.password_file.exists():
            raise SiteError(f"{cluster.password_file} is not there", reason="NO_PASSWORD")
    programs = find_programs(_major(cluster) if made else None)
    report["programs"] = f"{programs.directory} (version {programs.major})"
    if not made:
        return
    report["pid"] = cluster.pid()
    if report["pid"] is None:
        report["state"] = "stopped"
        return
    _examine_server(Database(cluster.url), report)


def _major(cluster: Cluster) -> int:
    try:
        return int((cluster.data / "PG_VERSION").read_text())
    except (OSError, ValueError):
        raise SiteError(f"{cluster.data} is not the data directory of a PostgreSQL server") from None


def _examine_server(database: Database, report: dict[str, Any]) -> None:
    try:
        report["revision"] = migrate.revision(database)
        report["state"] = "reached"
    finally:
        database.close()


if __name__ == "__main__":
    sys.exit(main())
