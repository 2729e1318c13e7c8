"""A connection on which PostgreSQL tells what other job stores have committed. The loop reads it, no thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from balsam_jobstore.database import Database
from balsam_jobstore.news import CHANNEL, News

log = logging.getLogger("balsam.jobstore")

_AGAIN_SECONDS = 0.5


class Listener:
    """Listens, and again after the connection was lost. Lives in the loop.

    Args:
        database: a PostgreSQL.
        hear: called with what other job stores tell, in the order of their commits.
        begin: called when it listens (again): what was told before has not been heard.
    """

    def __init__(self, database: Database, hear: Callable[[News], None], begin: Callable[[], Awaitable[None]]) -> None:
        self._database = database
        self._hear = hear
        self._begin = begin
        self._connection: Any = None
        self._descriptor = -1
        self._again: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens from now on.

        Raises:
            Exception: what the database says.
        """
        self._connection = await asyncio.to_thread(lone_connection, self._database, f"LISTEN {CHANNEL}")
        self._descriptor = self._connection.fileno()
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def stop(self) -> None:
        """Listens no longer."""
        if self._again is not None:
            self._again.cancel()
        self._leave()

    def _leave(self) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._descriptor = -1
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self) -> None:
        try:
            self._connection.poll()
        except Exception as error:  # psycopg2's, which only an installation with PostgreSQL has
            log.warning("does not hear of other job stores: %s", str(error).strip().split("\n")[0])
            self._leave()
            self._again = asyncio.get_running_loop().create_task(self._come_back())
            return
        heard, self._connection.notifies[:] = list(self._connection.notifies), []
        for notification in heard:
            try:
                news = News.of(notification.payload)
            except (ValueError, TypeError) as error:
                log.warning("a notification was not understood: %s", error)
                continue
            self._hear(news)

    async def _come_back(self) -> None:
        while True:
            await asyncio.sleep(_AGAIN_SECONDS)
            try:
                await self.start()
                await self._begin()
            except Exception as error:
                log.debug("cannot listen to other job stores: %s", error)
                self._leave()
                continue
            log.info("hears of other job stores again")
            return


def lone_connection(database: Database, *statements: str) -> Any:
    """The driver's own connection, in no pool and in no transaction, after these statements."""
    pooled = database.engine.raw_connection()
    pooled.detach()
    connection: Any = pooled.dbapi_connection
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection
