"""Brings a database to this version's schema."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from balsam.errors import SiteError
from balsam_jobstore.backups import back_up
from balsam_jobstore.database import Database, translate_error

log = logging.getLogger("balsam.jobstore.migrate")

HEAD = "0010"
"""The newest revision; a test compares it with the migrations."""

_LOCK = 0x62616C73616D  # an advisory lock is known by a number: "balsam"
_DIRECTORY = Path(__file__).parent / "migrations"


def revision(database: Database) -> str:
    """Revision of the database's schema; ``""`` if it has none.

    Raises:
        SiteError: the database cannot be reached.
    """
    try:
        with database.engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return ""
            return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() or ""
    except sa.exc.DBAPIError as error:
        raise cannot_open(database, error) from None


def cannot_open(database: Database, error: sa.exc.DBAPIError) -> SiteError:
    """The error where a database cannot be reached at the start."""
    problem = translate_error(error) or str(error.orig).strip().split("\n")[0]
    return SiteError(f"cannot open the database {database.url.render_as_string()}: {problem}")


def migrate(database: Database, backups: Path | None = None) -> None:
    """Makes or upgrades the schema, all or nothing; before an upgrade a copy of the database is put into `backups`.

    Raises:
        SiteError: the database cannot be reached, is of a newer version of Balsam, or cannot be copied or upgraded.
    """
    if revision(database) != HEAD:
        with _alone(database):
            _bring_to_head(database, backups)


@contextlib.contextmanager
def _alone(database: Database) -> Iterator[None]:
    """Of several processes that come to one PostgreSQL, one migrates it, and the others wait."""
    if database.is_sqlite:
        yield
        return
    with database.engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({_LOCK})")
        connection.commit()
        try:
            yield
        finally:
            with contextlib.suppress(sa.exc.DBAPIError):  # without the connection there is no lock
                connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_LOCK})")


def _bring_to_head(database: Database, backups: Path | None) -> None:
    current = revision(database)
    if current == HEAD:
        return  # another process was first
    logging.getLogger("alembic").setLevel(logging.WARNING)  # before the import: it logs while it is imported
    # Alembic takes a third of a second to import: only where there is something to do.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current and current not in known:
        raise SiteError(
            f"the database is at revision {current}, which this version of Balsam does not know "
            f"(newest: {HEAD}); use the version that made it, or a newer one"
        )
    copy = back_up(database, backups, current) if current and backups is not None else None
    try:
        with database.writer() as connection, connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except Exception as error:  # a migration may stumble over anything
        kept = f", and there is a copy of it: {copy}" if copy else ""
        original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        raise SiteError(
            f"the database cannot be brought from revision {current or 'none'} to {HEAD}: "
            f"{translate_error(error) or str(original).strip().splitlines()[0]}; it is as it was{kept}"
        ) from None
    log.info("database brought from revision %s to %s", current or "none", HEAD)
