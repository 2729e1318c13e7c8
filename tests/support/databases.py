"""The same test over both databases: fixtures with a parameter."""

from __future__ import annotations

from pathlib import Path

import pytest

_BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]

mostly_sqlite = pytest.mark.parametrize(
    "any_database", ["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.slow])], indirect=True
)
"""For tests with real processes in which the database matters little: over PostgreSQL they are among the slow ones."""


@pytest.fixture(params=_BOTH)
def any_database(request: pytest.FixtureRequest) -> str:
    """Value of the setting `database`: the embedded SQLite, then an empty PostgreSQL database."""
    return "sqlite" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def database_url(any_database: str, tmp_path: Path) -> str:
    """SQLAlchemy's address of an empty database: SQLite, then PostgreSQL."""
    return f"sqlite:///{tmp_path / 'balsam.db'}" if any_database == "sqlite" else any_database
