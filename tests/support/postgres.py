"""A real PostgreSQL server for the tests of a process, and an empty database in it for each test."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from balsam.errors import SiteError
from balsam_jobstore.postgres import Cluster
from balsam_jobstore.postgres_programs import find_programs
from tests.support.components import missing


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory for sockets: pytest's own have names that are too long for them."""
    with tempfile.TemporaryDirectory(prefix="balsam-") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A running server; what is written to it need not survive the machine."""
    try:
        find_programs()
    except SiteError as error:
        missing("PostgreSQL", str(error))
    with tempfile.TemporaryDirectory(prefix="balsam-pg-") as directory:
        cluster = Cluster(Path(directory, "cluster"), Path(directory), durable=False)
        cluster.start(Path(directory, "log"))
        yield cluster
        cluster.stop()


@pytest.fixture
def make_postgres_database(postgres_cluster: Cluster) -> Iterator[Callable[[], str]]:
    """Makes empty databases and gives their addresses; they go when the test ends."""
    names: list[str] = []

    def make() -> str:
        names.append(f"test_{uuid.uuid4().hex}")
        execute(postgres_cluster.url, f"CREATE DATABASE {names[-1]}")
        return postgres_cluster.url_of(names[-1])

    yield make
    for name in names:
        execute(postgres_cluster.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(make_postgres_database: Callable[[], str]) -> str:
    """Address of an empty database of its own."""
    return make_postgres_database()


def execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Runs one statement outside a transaction; gives the rows."""
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        result = connection.exec_driver_sql(statement)
        return [tuple(row) for row in result] if result.returns_rows else []
