"""Job stores on a bench, over both databases. What is left behind is checked when the test ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from balsam_jobstore import schema
from balsam_jobstore.database import Database
from balsam_jobstore.migrate import migrate
from balsam_jobstore.postgres import Cluster
from tests.support.invariants import violations
from tests.support.postgres import execute
from tests.support.store import Bench

# TRUNCATE makes new files for each table, which costs a third of a second.
_EMPTY = "".join(f"DELETE FROM {table.name};" for table in schema.metadata.sorted_tables)
_EMPTY += "".join(
    f"ALTER SEQUENCE {table}_key_seq RESTART;" for table in ("application", "launch", "session", "request")
)
_EMPTY += "INSERT INTO counter (id, job_key, event_sequence) VALUES (1, 0, 0)"


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the tables and nothing in them, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "balsam.db"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    database.close()
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres_cluster: Cluster) -> str:
    """The address of a PostgreSQL database with the tables, to be emptied before each use."""
    execute(postgres_cluster.url, "CREATE DATABASE bench")
    url = postgres_cluster.url_of("bench")
    database = Database(url)
    migrate(database)
    database.close()
    return url


@pytest.fixture
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Gives the address of a database with empty tables, by the kind of database."""

    def url(kind: str) -> str:
        if kind == "sqlite":
            copy = tmp_path / "bench.db"
            shutil.copy(request.getfixturevalue("migrated_sqlite"), copy)
            return f"sqlite:///{copy}"
        found = str(request.getfixturevalue("migrated_postgres"))
        execute(found, _EMPTY)
        return found

    return url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, empty_database: Callable[[str], str]) -> str:
    """The address of a database with empty tables: SQLite, then PostgreSQL."""
    return empty_database(request.param)


@pytest.fixture
def plain_bench(store_url: str) -> Iterator[Bench]:
    """A job store without rules: nothing moves by itself."""
    with checked_bench(store_url) as bench:
        yield bench


@pytest.fixture
def bench(plain_bench: Bench) -> Bench:
    """A job store with the scheduler's rules in force."""
    plain_bench.schedule()
    return plain_bench


@contextmanager
def checked_bench(url: str) -> Iterator[Bench]:
    """A job store over a database; afterwards all that must hold there does."""
    database = Database(url)
    bench = Bench(database)
    try:
        yield bench
        with database.reader() as connection:
            assert violations(connection, bench.events, bench.writer.rules) == []
        leased = dict(bench.sql("SELECT key, fence FROM job WHERE session IS NOT NULL"))
        assert {key: fence for key, (fence, *_) in bench.store.tokens.live.items()} == leased
    finally:
        bench.close()
        database.close()
