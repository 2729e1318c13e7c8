"""A database on a server is of one site: a job store of another one is refused while those of the first work on it.

Of files, and of the server that a site has for itself, a lock tells that (`holding`). On a server the connections do:
each bears the name of its site, which everybody who may connect sees.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import sqlalchemy as sa

from balsam.errors import SiteError
from balsam_jobstore.database import Database
from balsam_jobstore.migrate import cannot_open

_MARK = "balsam"
_MOST = 40
"""Of a path, its end; PostgreSQL keeps 63 bytes of a name."""
_OTHERS = f"""SELECT application_name, pid FROM pg_stat_activity
    WHERE datname = current_database() AND split_part(application_name, ' ', 1) = '{_MARK}'
    AND application_name <> current_setting('application_name') ORDER BY backend_start, pid LIMIT 1"""


def connection_name(path: Path) -> str:
    """The name of the connections of a site's job stores (`application_name` of PostgreSQL).

    Sites of different paths have different names, however long their paths are.
    """
    real = os.path.realpath(path)
    digest = hashlib.sha256(os.fsencode(real)).hexdigest()[:12]
    return f"{_MARK} {digest} {real if len(real) <= _MOST else f'...{real[-_MOST:]}'}"


def refuse_another(database: Database) -> None:
    """Goes on unless job stores of another site work on the database; connects with the name of ours first, so that of
    two which come at once one at least is refused.

    Raises:
        SiteError: they do; says of which site. Or the database cannot be reached.
    """
    if database.is_sqlite:
        return
    try:
        with database.engine.connect() as connection:
            found = connection.execute(sa.text(_OTHERS)).first()
    except sa.exc.DBAPIError as error:
        raise cannot_open(database, error) from None
    if found is not None:
        raise SiteError(
            f"the database is that of another site, {found[0].split(' ', 2)[2]}, whose job store works on it (process "
            f"{found[1]} of its server): give this site a database of its own (`database` in settings.toml), or stop "
            "the other one for good"
        )
