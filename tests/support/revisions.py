"""Databases as earlier versions have left them: the schema of a revision, and what such a site held."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from balsam.site import Site
from balsam_jobstore import migrate
from balsam_jobstore.database import Database, sqlite_url

_DUMPS = Path(__file__).parent.parent / "jobstore" / "revisions"
NUMBERS = sorted(path.stem[:4] for path in (migrate._DIRECTORY / "versions").glob("[0-9]*.py"))
"""All revisions, oldest first."""
EARLIER = [number for number in NUMBERS if number < migrate.HEAD]
"""Those that this version upgrades."""


def of_site(site: Site) -> Database:
    """The database of a site: SQLite, or a server that runs."""
    name = site.settings.database
    return Database(sqlite_url(site.database) if name == "sqlite" else name)


def make_database(database: Database, revision: str) -> None:
    """Makes the tables of a revision and fills them with what a site of it held."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrate._DIRECTORY))
    with database.writer() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for dump in sorted(_DUMPS.glob("*.sql")):
            if dump.stem <= revision:
                for statement in _statements(dump.read_text()):
                    connection.exec_driver_sql(statement)
        if not database.is_sqlite:
            for table in sa.inspect(connection).get_table_names():
                if table in ("application", "session", "launch"):
                    text = f"SELECT setval(pg_get_serial_sequence('{table}', 'key'), max(key)) FROM {table}"
                    connection.exec_driver_sql(text)


def _statements(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [statement for statement in "\n".join(lines).split(";") if statement.strip()]
