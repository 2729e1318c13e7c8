"""ArchiveService."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from balsam.errors import BalsamError, NotAllowed, ValidationError
from balsam.serving import CALLER, shed
from balsam.v1 import archive_service_pb2
from balsam.v1.archive_service_pb2_grpc import ArchiveServiceServicer
from balsam_jobstore.database import Sql, translate_error
from balsam_jobstore.moving import archiving, exporting, importing
from balsam_jobstore.moving.format import ARCHIVE, Line, Reader
from balsam_jobstore.server import convert
from balsam_jobstore.store import Store

pb = archive_service_pb2

T = TypeVar("T")

MOST_EXPORTS = 2
"""At once: each has a connection to the database to itself."""
_MOST_LINES = 200
_MOST_EVENTS = 10_000


class ArchiveService(ArchiveServiceServicer):
    """Translates; the verbs are in `moving`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._exports = 0

    async def ExportJobs(self, request: pb.ExportJobsRequest, context: Any) -> AsyncIterator[pb.ExportJobsResponse]:
        """The content of a file."""
        selection = exporting.Selection(
            convert.plain_text(request.workflow, "workflow"), _older_than_us(request), request.header_only
        )
        shed(self._exports, MOST_EXPORTS, "exports")
        self._exports += 1
        pieces = exporting.exported(self._store.database, self._store.site.path, selection)
        # A thread of its own: it must not keep one from those who read a page.
        thread = ThreadPoolExecutor(1, thread_name_prefix="export")
        loop = asyncio.get_running_loop()
        try:
            while (piece := await loop.run_in_executor(thread, _next, pieces)) is not None:
                yield pb.ExportJobsResponse(content=piece)
        finally:
            self._exports -= 1
            thread.submit(pieces.close)  # type: ignore[attr-defined]
            thread.shutdown(wait=False)

    async def ImportJobs(self, request: AsyncIterator[pb.ImportJobsRequest], context: Any) -> pb.ImportJobsResponse:
        """Takes jobs from a file, or says what that would do."""
        owner = CALLER.get().user
        total, seen, reader = importing.Imported(), importing.Seen(), Reader()
        validate_only: bool | None = None

        async def take(lines: list[Line]) -> None:
            if validate_only:
                total.add(await self._read(lambda sql: importing.check(sql, lines, seen)))
            else:
                total.add(await self._store.writer.do(lambda tx: importing.take(tx, lines, owner)))

        async for message in request:
            validate_only = message.validate_only if validate_only is None else validate_only
            await _each_batch(reader, message.content, take)
        reader.finish()
        if total.created:
            await self._store.writer.do(lambda tx: tx.note("ImportJobs", [], count=total.created))
        return pb.ImportJobsResponse(
            created=total.created,
            existing=total.existing,
            applications=total.applications,
            launches=total.launches,
            refused=total.refused,
            refusals=convert.refusal_messages(total.refusals),
        )

    async def RemoveArchivedJobs(
        self, request: AsyncIterator[pb.RemoveArchivedJobsRequest], context: Any
    ) -> pb.RemoveArchivedJobsResponse:
        """Deletes what is in an archive."""
        total, archived, reader = archiving.Removed(), archiving.Archived(), Reader()

        async def take(lines: list[Line]) -> None:
            self._check_is_archive(reader)
            await self._read(lambda sql: archiving.compare(sql, lines, archived, total))

        async for message in request:
            await _each_batch(reader, message.content, take)
        reader.finish()
        self._check_is_archive(reader)
        for batch in archived.batches():
            part = await self._store.writer.do(lambda tx, batch=batch: archiving.remove(tx, batch))  # type: ignore[misc]
            total.deleted += part.deleted
            total.gone += part.gone
            total.refused += part.refused
            total.refusals += part.refusals
        if total.deleted:
            await self._store.writer.do(lambda tx: tx.note("RemoveArchivedJobs", [], count=total.deleted))
        return pb.RemoveArchivedJobsResponse(
            deleted=total.deleted,
            gone=total.gone,
            refused=total.refused,
            refusals=convert.refusal_messages(total.refusals),
        )

    def _check_is_archive(self, reader: Reader) -> None:
        site = str(self._store.site.path)
        if reader.header.get("kind") != ARCHIVE or reader.header.get("site") != site:
            raise NotAllowed(
                f"the file is an {str(reader.header.get('kind'))[:20]} of {str(reader.header.get('site'))[:200]}, "
                f"not an archive of {site}: nothing is deleted for it",
                field="content",
            )

    async def _read(self, query: Callable[[Sql], T]) -> T:
        database = self._store.database
        return await self._store.read(lambda connection: exporting.in_snapshot(connection, database, query))


def _older_than_us(request: pb.ExportJobsRequest) -> int | None:
    if not request.HasField("older_than_seconds"):
        return None
    seconds = request.older_than_seconds
    if not (math.isfinite(seconds) and 0 <= seconds <= 1e10):
        raise ValidationError(
            f"older_than_seconds = {seconds}: must be a number from 0 to 10,000,000,000", field="older_than_seconds"
        )
    return round(seconds * 1e6)


def _next(pieces: Iterator[bytes]) -> bytes | None:
    try:
        return next(pieces, None)
    except BalsamError:
        raise
    except Exception as error:
        problem = translate_error(error)
        if problem is None:
            raise
        raise problem from None


async def _each_batch(reader: Reader, content: bytes, take: Callable[[list[Line]], Any]) -> None:
    """Gives the lines that a piece completes to `take`, so many at once as a transaction should hold."""
    lines = await asyncio.to_thread(lambda: list(reader.feed(content)))
    batch: list[Line] = []
    events = 0
    for line in lines:
        batch.append(line)
        events += len(line.value.get("history", ()))
        if len(batch) >= _MOST_LINES or events >= _MOST_EVENTS:
            await take(batch)
            batch, events = [], 0
    if batch:
        await take(batch)
