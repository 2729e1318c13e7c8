"""Copies of the database in ``SITE/backups``: made before an upgrade, complete or not there at all, and put back."""

from __future__ import annotations

import datetime
import logging
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from balsam.errors import SiteError
from balsam.site import sync
from balsam_jobstore import schema
from balsam_jobstore.database import Database, translate_error
from balsam_jobstore.postgres_programs import environment, find_programs

log = logging.getLogger("balsam.jobstore.backups")

KEPT = 5
"""Backups that are kept, the newest."""
SQLITE, DUMP, COPY = ".db", ".dump", ".sql"
"""What a backup is, by its suffix: an SQLite file, an archive of pg_dump, the rows of each table as text."""


def back_up(database: Database, directory: Path, revision: str) -> Path:
    """Makes a synced copy of a database of this schema revision; gives its file.

    Raises:
        SiteError: it cannot be made; nothing is left of it then.
    """
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    make, suffix = _maker(database)
    target = directory / f"balsam-{revision}-{stamp}{suffix}"
    draft = target.with_suffix(".new")
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        for old in directory.glob("balsam-*.new"):
            old.unlink()  # of one that was killed
        make(database, draft)
        sync(draft)
        draft.rename(target)
        sync(directory)
    except (OSError, sqlite3.Error, sa.exc.DBAPIError, SiteError) as error:
        draft.unlink(missing_ok=True)
        raise SiteError(
            f"cannot make a backup in {directory}: {_described(error)}; the database is as it was and was not upgraded"
        ) from None
    for old in sorted(_all(directory), key=lambda path: path.name.split("-")[-1])[:-KEPT]:
        old.unlink(missing_ok=True)
    log.info("the database was copied to %s", target)
    return target


def restore(database: Database, backup: Path) -> None:
    """Puts a backup in the place of the database, on which nobody works; of SQLite, what was there is kept beside it.

    Raises:
        SiteError: it cannot be done; the database is as it was.
    """
    if not backup.is_file() or backup.suffix not in ((SQLITE,) if database.is_sqlite else (DUMP,)):
        raise SiteError(
            f"{backup} is not a backup of this kind of database; docs/operating.md says what can be restored"
        )
    try:
        if database.is_sqlite:
            _restore_sqlite(Path(database.url.database or ""), backup)
        else:
            _restore_dump(database, backup)
    except OSError as error:
        raise SiteError(f"cannot restore {backup}: {_described(error)}; the database is as it was") from None


def _restore_sqlite(file: Path, backup: Path) -> None:
    draft = file.with_name(file.name + ".new")
    shutil.copyfile(backup, draft)
    sync(draft)
    # The log of the old one belongs to the old one.
    for suffix in ("-wal", "-shm", "-journal", ""):
        part = Path(f"{file}{suffix}")
        if part.exists():
            part.replace(f"{file}.before-restore{suffix}")
    draft.rename(file)
    sync(file.parent)


def _restore_dump(database: Database, backup: Path) -> None:
    """One transaction: what a later version has made goes, what was there comes back."""
    program, psql = _program(database, "pg_restore"), _program(database, "psql")
    if program is None or psql is None:
        raise SiteError("pg_restore and psql of the server's version were not found; point BALSAM_PG_BIN at them")
    tables = ", ".join([*schema.metadata.tables, "alembic_version"])
    command = [os.fspath(program), "--no-owner", "--file=-", os.fspath(backup)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()) as script:
        options = ("--quiet", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1", "--output=/dev/null")
        statements = (f"--command=DROP TABLE IF EXISTS {tables}", "--file=-")
        _run_program(database, "psql", *options, *statements, stdin=script.stdout)
    if script.returncode:
        raise OSError(0, f"pg_restore ended with {script.returncode}")


def _maker(database: Database) -> tuple[Callable[[Database, Path], None], str]:
    if database.is_sqlite:
        return _copy_sqlite, SQLITE
    if _program(database, "pg_dump") is not None:
        return _dump, DUMP
    return _copy_tables, COPY


def _copy_sqlite(database: Database, draft: Path) -> None:
    source = sqlite3.connect(database.url.database or "", timeout=10.0)
    target = sqlite3.connect(draft)
    try:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
    finally:
        target.close()
        source.close()


def _dump(database: Database, draft: Path) -> None:
    _run_program(database, "pg_dump", "--format=custom", "--no-owner", f"--file={draft}")


def _run_program(database: Database, name: str, *options: str, stdin: IO[bytes] | None = None) -> None:
    program = _program(database, name)
    if program is None:
        raise SiteError(f"{name} of the server's version was not found; point BALSAM_PG_BIN at its directory")
    url = database.url.set(drivername="postgresql", password=None)
    variables = environment()
    if database.url.password is not None:
        variables["PGPASSWORD"] = str(database.url.password)  # an argument could be read by everybody
    command = [os.fspath(program), *options, f"--dbname={url.render_as_string()}"]
    done = subprocess.run(
        command, stdin=stdin or subprocess.DEVNULL, capture_output=True, text=True, env=variables, check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise OSError(0, lines[0].strip() if lines else f"{name} ended with {done.returncode}")


def _program(database: Database, name: str) -> Path | None:
    """A program of the server's own version, if there is one."""
    with database.reader() as connection:
        major = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000
    try:
        program = find_programs(major).directory / name
    except SiteError:
        return None
    return program if os.access(program, os.X_OK) else None


def _copy_tables(database: Database, draft: Path) -> None:
    """Without pg_dump: the rows as `psql` reads them, for a database that has the tables and nothing in them."""
    with database.reader() as connection, draft.open("wb") as file:
        tables = set(sa.inspect(connection).get_table_names()) & {*schema.metadata.tables, "alembic_version"}
        cursor = connection.connection.cursor()
        for table in sorted(tables):
            file.write(f"COPY {table} FROM stdin;\n".encode())
            cursor.copy_expert(f"COPY {table} TO STDOUT", file)
            file.write(b"\\.\n")
        cursor.close()


def _all(directory: Path) -> list[Path]:
    return [path for path in directory.glob("balsam-*-*") if path.suffix in (SQLITE, DUMP, COPY)]


def _described(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(translate_error(error) or error).strip().split("\n")[0]
