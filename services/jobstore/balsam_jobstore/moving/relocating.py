"""Moves the database of a site: copy, compare, and only then change the setting. Killed anywhere, the site works."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from balsam import stores
from balsam.errors import SiteError
from balsam.serving import ServiceLock
from balsam.settings import check, replaced
from balsam.site import SETTINGS_FILE, Site, sync, write_secret
from balsam_jobstore import migrate
from balsam_jobstore.__main__ import open_database
from balsam_jobstore.database import Database, translate_error
from balsam_jobstore.moving.copying import Summary, copy_tables, summaries
from balsam_jobstore.moving.places import (
    MARK,
    Journal,
    Place,
    place_for,
    set_aside,
    set_aside_file,
)


@dataclass(frozen=True)
class Moved:
    """What was moved, and where the database of before is."""

    before: str
    after: str
    backup: str
    tables: dict[str, Summary]

    def as_record(self) -> dict[str, Any]:
        """As plain data."""
        tables = {name: asdict(summary) for name, summary in self.tables.items()}
        return {"before": self.before, "after": self.after, "backup": self.backup, "tables": tables}


def move(site: Site, target: str) -> Moved:
    """Moves the database of a site whose services do not run to where the setting `database` = `target` says.

    Sessions and leases go with it, so that launchers which are at work report to the job store when it is up again.

    Raises:
        SiteError: the services run, the target cannot be used, or the copy is not the same; nothing has changed.
    """
    current = site.settings.database
    lock_out_services(site)
    if target == current:
        raise SiteError(f"the database of {site.path} is {shown(current)} already")
    check({**asdict(site.settings), "database": target}, str(site.path / SETTINGS_FILE))
    place = place_for(site, target)
    cluster, source, holding = open_database(site)
    try:
        _tidy(site, current, source)
        _check_version(source)
        tables = _copy(source, place)
        place.finish()
        switch(site, target)
        source.close()
        if cluster is not None:
            cluster.stop()
        backup = keep_backup(site, current)
        place.forget()
    finally:
        source.close()
        place.leave()
        if cluster is not None:
            cluster.stop()
        if holding is not None:
            holding.release()
    return Moved(shown(current), shown(target), backup, tables)


def lock_out_services(site: Site) -> None:
    """Takes the locks of the services until this process ends. Raises SiteError if one runs."""
    site.make_run()
    for name, title in (*((name, "job store") for name in stores.known(site)), ("scheduler", "scheduler")):
        try:
            ServiceLock(site.run / f"{name}.lock").acquire(title)
        except SiteError as error:
            raise SiteError(f"{error}; stop it with `balsam down` and try again", reason=error.reason) from None


def shown(database: str) -> str:
    """A value of the setting as people may see it: without a password."""
    return database if database in ("sqlite", "postgres") else Database(database).url.render_as_string()


def _tidy(site: Site, current: str, source: Database) -> None:
    """What an attempt that was cut off at its very end has left."""
    journal = Journal(site)
    if journal.is_about(current):
        journal.end()
    with _understood(), source.writer() as connection, connection.begin():
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {MARK}")


def _check_version(source: Database) -> None:
    revision = migrate.revision(source)
    if not revision:
        migrate.migrate(source)  # the site was never started
    elif revision != migrate.HEAD:
        raise SiteError(
            f"the database is at revision {revision}, this version of Balsam needs {migrate.HEAD}: "
            "run `balsam up` and `balsam down` once, then try again"
        )


def _copy(source: Database, place: Place) -> dict[str, Summary]:
    """Makes a copy and compares it with the source, table by table; gives what both hold."""
    target = place.prepare()
    try:
        with _understood():
            migrate.migrate(target)
            copy_tables(source, target)
            return compare(source, target)
    finally:
        target.close()


def compare(source: Database, target: Database) -> dict[str, Summary]:
    """What both databases hold. Raises SiteError if that is not the same."""
    here, there = summaries(source), summaries(target)
    for name, summary in here.items():
        if there[name] != summary:
            raise SiteError(
                f"the copy of the table {name} is not the same ({summary.rows} rows, {there[name].rows} in the copy): "
                "the site stays with its database; please report this"
            )
    return here


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """Around work on databases: what goes wrong there is told in one line."""
    try:
        yield
    except Exception as error:
        drivers = isinstance(error, sqlite3.Error) or type(error).__module__.startswith("psycopg2")
        if not drivers and not isinstance(error, (sa.exc.SQLAlchemyError, OSError)):
            raise
        reason = translate_error(error) or str(getattr(error, "orig", error)).strip().split("\n")[0]
        raise SiteError(f"the database could not be copied: {reason}; the site stays with it") from None


def switch(site: Site, target: str) -> None:
    """Changes the setting: in one instant, all other lines stay."""
    path = site.path / SETTINGS_FILE
    draft = path.with_name(f"{SETTINGS_FILE}.new")
    write_secret(draft, replaced(path.read_text(), "database", target))
    os.chmod(draft, stat.S_IMODE(path.stat().st_mode))
    draft.rename(path)
    sync(site.path)


def keep_backup(site: Site, before: str) -> str:
    """Gives the database that was used before a name of its own, where it is in the site; gives its place."""
    if before not in ("sqlite", "postgres"):
        return shown(before)
    path = site.database / ("balsam.db" if before == "sqlite" else "postgres")
    with contextlib.suppress(OSError):  # the site has moved, whatever the old one is called
        path = (set_aside_file(path) if before == "sqlite" else set_aside(path)) or path
    return str(path)
