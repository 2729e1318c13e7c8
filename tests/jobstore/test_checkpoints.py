"""SQLite's write-ahead log is copied beside the writer, and begins anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from balsam_jobstore import checkpoints
from balsam_jobstore.checkpoints import Checkpoints, checkpoint
from balsam_jobstore.database import KEPT_LOG_BYTES, Database
from balsam_jobstore.tx import Tx
from balsam_jobstore.writer import Writer
from tests.jobstore.test_writer import Counted

PAGE_BYTES = 4096


@pytest.fixture
def database(empty_database: Callable[[str], str]) -> Iterator[Database]:
    database = Database(empty_database("sqlite"))
    yield database
    database.close()


def run(database: Database, work: Callable[[Writer], Awaitable[None]]) -> None:
    async def main() -> None:
        writer = Writer(database, asyncio.get_running_loop(), Counted())
        writer.start()
        try:
            await work(writer)
        finally:
            await asyncio.to_thread(writer.stop)

    asyncio.run(main())


def writes(number: int) -> Callable[[Tx], object]:
    """A command that fills some pages."""
    return lambda tx: tx.sql.run("UPDATE counter SET job_key = :number WHERE id = 1", number=number)


@pytest.mark.parametrize("thread_keeps_up", [True, False])
def test_under_constant_writing_the_log_stays_short(
    database: Database, monkeypatch: pytest.MonkeyPatch, thread_keeps_up: bool
) -> None:
    monkeypatch.setattr(checkpoints, "PAGES", 20)
    monkeypatch.setattr(checkpoints, "_LOOK_SECONDS", 0.0)
    log = Path(f"{database.url.database}-wal")

    async def work(writer: Writer) -> None:
        copied = Checkpoints(database, writer)
        if not thread_keeps_up:  # what it leaves is for the writer
            monkeypatch.setattr(copied, "_copy", lambda: None)
        for number in range(1000):
            await writer.do(writes(number))
            copied.look()
        assert log.stat().st_size < 500 * PAGE_BYTES  # each commit adds a page

    run(database, work)


def test_a_log_that_has_been_long_is_cut_off_when_it_begins_anew(database: Database) -> None:
    log = Path(f"{database.url.database}-wal")

    async def work(writer: Writer) -> None:
        await writer.do(lambda tx: tx.sql.run("CREATE TABLE large (data BLOB)"))
        await writer.do(lambda tx: tx.sql.run("INSERT INTO large VALUES (zeroblob(:size))", size=2 * KEPT_LOG_BYTES))
        assert log.stat().st_size > 2 * KEPT_LOG_BYTES
        writer.between(checkpoint)
        await writer.do(writes(1))
        await writer.do(writes(2))
        assert log.stat().st_size <= KEPT_LOG_BYTES

    run(database, work)


def test_without_it_the_log_would_grow(database: Database) -> None:
    log = Path(f"{database.url.database}-wal")

    async def work(writer: Writer) -> None:
        for number in range(1000):
            await writer.do(writes(number))
        assert log.stat().st_size > 900 * PAGE_BYTES

    run(database, work)


def test_what_fails_between_two_transactions_stops_nobody(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    def fails(connection: sa.Connection) -> None:
        raise OSError("no room")

    async def work(writer: Writer) -> None:
        writer.between(fails)
        await writer.do(writes(1))
        await writer.do(writes(2))

    run(database, work)
    assert "between two transactions: no room" in caplog.text
