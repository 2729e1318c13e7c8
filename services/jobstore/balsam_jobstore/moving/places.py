"""Where a site's database may go: an embedded one, a private cluster, a server. A copy is made beside its place, or
under a mark, so that half of one is known for what it is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from balsam.errors import SiteError
from balsam.site import Site, sync, write_secret
from balsam_jobstore import schema
from balsam_jobstore.database import Database, sqlite_url, translate_error
from balsam_jobstore.database_file import DatabaseFile
from balsam_jobstore.postgres import Cluster

MARK = "balsam_move"
"""A table that says that a database on a server is a copy of ours that is not complete."""
_SQLITE_FILES = ("", "-wal", "-shm")


class Place(Protocol):
    """Where a copy is made."""

    def prepare(self) -> Database:
        """An empty database without tables, at the place of a half copy if there is one. Raises SiteError."""

    def finish(self) -> None:
        """The copy is complete and closed: it becomes what the setting names."""

    def leave(self) -> None:
        """Nothing is left running, whatever has become of the copy."""

    def forget(self) -> None:
        """The site uses the copy: what marked it as half of one goes."""


def place_for(site: Site, target: str) -> Place:
    """The place that a value of the setting `database` names."""
    if target == "sqlite":
        return EmbeddedPlace(site)
    return ClusterPlace(site) if target == "postgres" else ServerPlace(site, target)


class EmbeddedPlace:
    """A file, made under another name."""

    def __init__(self, site: Site) -> None:
        self._file = site.database / "balsam.db"
        self._draft = site.database / "moving.db"

    def prepare(self) -> Database:
        """Makes the file anew."""
        for suffix in _SQLITE_FILES:
            Path(f"{self._draft}{suffix}").unlink(missing_ok=True)
        return Database(sa.URL.create("sqlite", database=str(self._draft)))

    def finish(self) -> None:
        """Gives it its name."""
        set_aside_file(self._file)
        with self._draft.open("rb") as file:
            os.fsync(file.fileno())
        self._draft.rename(self._file)
        sync(self._file.parent)

    def leave(self) -> None:
        """Nothing runs."""

    def forget(self) -> None:
        """Nothing marks it."""


class ClusterPlace:
    """A private PostgreSQL cluster, made in another directory."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._final = site.database / "postgres"
        self._draft = Cluster(site.database / "postgres.moving", site.run)

    def prepare(self) -> Database:
        """Makes the cluster anew, and starts it."""
        Cluster(self._final, self._site.run).stop()  # one that the site used before, and that was left running
        self._draft.stop()
        shutil.rmtree(self._draft.directory, ignore_errors=True)
        self._draft.start(self._site.log / "postgres.log")
        return Database(self._draft.url)

    def finish(self) -> None:
        """Stops it and gives it its name."""
        self._draft.stop()
        set_aside(self._final)
        self._draft.directory.rename(self._final)
        sync(self._final.parent)

    def leave(self) -> None:
        """Stops the server."""
        self._draft.stop()

    def forget(self) -> None:
        """Nothing marks it."""


class ServerPlace:
    """A database on a server of somebody else's: it must be empty, or hold half a copy that this site has begun."""

    def __init__(self, site: Site, url: str) -> None:
        self._url = url
        self._journal = Journal(site)
        self._shown = Database(url).url.render_as_string()

    def prepare(self) -> Database:
        """Checks that nobody's tables are there, and puts the mark. Raises SiteError."""
        database = Database(self._url)
        try:
            number = self._journal.begin(self._url)
            with database.writer() as connection, connection.begin():
                self._wipe(connection, number)
                connection.exec_driver_sql(f"CREATE TABLE {MARK} (number TEXT NOT NULL)")
                connection.execute(sa.text(f"INSERT INTO {MARK} VALUES (:number)"), {"number": number})
        except sa.exc.DBAPIError as error:
            database.close()
            reason = translate_error(error) or str(error.orig).strip().split("\n")[0]
            raise SiteError(f"cannot use the database {self._shown}: {reason}") from None
        except SiteError:
            database.close()
            raise
        return database

    def _wipe(self, connection: sa.Connection, number: str) -> None:
        tables = set(sa.inspect(connection).get_table_names())
        if not tables:
            return
        ours = {table.name for table in schema.metadata.sorted_tables} | {MARK, "alembic_version"}
        marks = connection.exec_driver_sql(f"SELECT number FROM {MARK}").scalars().all() if MARK in tables else []
        if marks != [number] or tables - ours:
            raise SiteError(
                f"the database {self._shown} is not empty (it has the table {min(tables - {MARK})}); "
                "give one without tables, made with CREATE DATABASE"
            )
        for name in tables:
            connection.exec_driver_sql(f"DROP TABLE {name}")

    def finish(self) -> None:
        """It has its name already."""

    def leave(self) -> None:
        """It is not ours to stop."""

    def forget(self) -> None:
        """Removes the mark."""
        self._journal.end()
        database = Database(self._url)
        with contextlib.suppress(sa.exc.DBAPIError), database.writer() as connection, connection.begin():
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {MARK}")
        database.close()


class Journal:
    """Says which half copy on a server is of this site: a number, and a digest of the address."""

    def __init__(self, site: Site) -> None:
        self._file = site.database / "moving.json"

    def begin(self, url: str) -> str:
        """The number of the copy at this address: that of the attempt before, if there was one."""
        known = self._read()
        if known.get("target") == _digest(url):
            return known["number"]
        number = str(uuid.uuid4())
        write_secret(self._file, json.dumps({"number": number, "target": _digest(url)}))
        sync(self._file.parent)
        return number

    def is_about(self, url: str) -> bool:
        """Whether the last copy that was begun has this address."""
        return self._read().get("target") == _digest(url)

    def end(self) -> None:
        """No copy is half made."""
        self._file.unlink(missing_ok=True)
        sync(self._file.parent)

    def _read(self) -> dict[str, str]:
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(self._file.read_text())
            if isinstance(known, dict):
                return known
        return {}


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def set_aside(path: Path) -> Path | None:
    """Renames a database that is not used any more; gives its new place, None if there is none."""
    if not path.exists():
        return None
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    names = (
        path.with_name(f"{path.stem}-{stamp}{extra}{path.suffix}") for extra in ("", *map("-{}".format, range(99)))
    )
    place = next(name for name in names if not name.exists())
    path.rename(place)
    sync(path.parent)
    return place


def set_aside_file(path: Path) -> Path | None:
    """As `set_aside`, of an SQLite database, with what it has not yet taken into its file."""
    if path.exists():
        database = Database(sqlite_url(path.parent))
        with database.reader() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
        database.close()  # the last to leave takes the rest into the file
    DatabaseFile(path, path.parent).forget()
    return set_aside(path)
