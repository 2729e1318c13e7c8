"""All that is in a database, to be compared."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from balsam.site import Site
from balsam_jobstore import schema
from balsam_jobstore.database import Database, sqlite_url


def dump(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, in an order that does not depend on how it is stored."""
    with database.reader() as connection:
        return {
            table.name: sorted((_plain(row) for row in connection.execute(sa.select(table))), key=repr)
            for table in schema.metadata.sorted_tables
        }


def dump_of_site(site: Site) -> dict[str, list[tuple[Any, ...]]]:
    """The same of a site, whose job store may run: of SQLite, or a server that runs."""
    name = site.settings.database
    database = Database(sqlite_url(site.database) if name == "sqlite" else name)
    try:
        return dump(database)
    finally:
        database.close()


def _plain(row: Any) -> tuple[Any, ...]:
    return tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
