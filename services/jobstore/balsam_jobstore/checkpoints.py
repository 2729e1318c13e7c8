"""Checkpoints of SQLite's write-ahead log beside the writer, which would stand still for 0.3 s every few seconds.

A thread copies what the log holds into the database. Meanwhile the writer goes on, so the log is never copied whole,
and only a log that is can begin anew. So the last few pages are copied by the writer, between two transactions.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import sqlalchemy as sa

from balsam_jobstore.database import Database
from balsam_jobstore.writer import Writer

log = logging.getLogger("balsam.jobstore")

PAGES = 16_000
"""So long the log may become before it is copied; 64 MB."""
_PAGE_BYTES = 4096
_LOOK_SECONDS = 0.25
_PASSES = 2  # the second copies what was written during the first


class Checkpoints:
    """Of one database; of one that is not SQLite there is nothing to do. Lives in the loop."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer
        self._next_look = 0.0
        has_log = database.is_sqlite and database.url.database and not database.is_shared
        self._log = Path(f"{database.url.database}-wal") if has_log else None
        self._copying: asyncio.Future[None] | None = None

    def look(self) -> None:
        """After a commit: copies the log if it has become long; costs a look at a file, four times a second at most."""
        if self._log is None or self._copying is not None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _LOOK_SECONDS
        try:
            if self._log.stat().st_size > PAGES * _PAGE_BYTES:
                self._copying = asyncio.get_running_loop().run_in_executor(None, self._copy)
                self._copying.add_done_callback(self._copied)
        except FileNotFoundError:
            pass  # nothing was written yet
        except (OSError, RuntimeError) as error:  # those who wait for the commit must be told of it all the same
            log.warning("cannot copy the write-ahead log: %s", error)

    def _copy(self) -> None:
        with self._database.reader() as connection:
            for _ in range(_PASSES):
                checkpoint(connection)

    def _copied(self, copying: asyncio.Future[None]) -> None:
        self._copying = None
        error = None if copying.cancelled() else copying.exception()
        if error is not None:  # the writer does it, when there are LOG_PAGES
            log.warning("cannot copy the write-ahead log: %s", error)
        else:
            self._writer.between(checkpoint)


def checkpoint(connection: sa.Connection) -> None:
    """Copies what can be copied without waiting for anybody. The connection must not be in a transaction."""
    raw = connection.connection.dbapi_connection
    assert raw is not None
    cursor = raw.cursor()
    cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
    cursor.close()
