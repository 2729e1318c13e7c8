"""The database: opening it, SQLite or PostgreSQL, and the few ways in which their SQL differs."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import re
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from balsam.errors import BalsamError, ResourceExhausted, SiteError, Unavailable, ValidationError
from balsam.rpc import BUSY, NO_DATABASE

BUSY_SECONDS = 10.0
LOG_PAGES = 64_000
"""So long SQLite's write-ahead log becomes at most, if `checkpoints` does not come to it before."""
KEPT_LOG_BYTES = 16 << 20
"""A log that begins anew is cut off to this, so that its file tells how long it is."""
READERS = 4
_READER_KIB, _WRITER_KIB = 8 << 10, 64 << 10
"""What a connection to SQLite keeps in memory of a database; the system keeps the rest for all of them."""
REGEX_SECONDS = 10.0
"""For all that a query does with a regular expression [s]."""
REGEX_TEXT_SECONDS = 0.25
"""For one text [s]."""
_MOST_BOUND = 500
_MOST_PARAMETERS = 32_000  # SQLite allows 32,766 in a statement
_BLOCKS = (512, 64, 8, 1)
_UUID_OID = 2950


class Database:
    """An engine, and what depends on which database it is.

    Args:
        url: SQLAlchemy's address of it.
        is_shared: the file is on a network file system, where SQLite's write-ahead log does not work.
        client: how its connections are called at a server; empty: not at all.
    """

    def __init__(self, url: sa.URL | str, *, is_shared: bool = False, client: str = "") -> None:
        self.is_shared = is_shared
        self._client = client
        try:
            self.url = _with_driver(sa.make_url(url))
            self.is_sqlite = self.url.get_backend_name() == "sqlite"
            self.engine = self._make_engine()
        except ModuleNotFoundError as error:
            raise SiteError(
                f"the database {self.url.render_as_string()} needs the Python package {error.name}; "
                "install Balsam with its [postgres] extra"
            ) from None
        except (sa.exc.ArgumentError, ValueError):
            # What is wrong may be a part of the password.
            raise SiteError(_INVALID_URL) from None

    @property
    def name(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.url.get_backend_name()

    def _make_engine(self) -> sa.Engine:
        if not self.is_sqlite:
            named = {"application_name": self._client} if self._client else {}
            engine = sa.create_engine(
                self.url,
                pool_size=READERS + 1,
                max_overflow=2,
                connect_args={"connect_timeout": 10, "options": "-c synchronous_commit=on -c jit=off", **named},
            )
            sa.event.listen(engine, "connect", _prepare_postgresql)
            return engine
        engine = sa.create_engine(
            self.url,
            poolclass=sa.QueuePool,
            pool_size=READERS + 1,
            max_overflow=2,
            connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS, "isolation_level": None},
        )
        sa.event.listen(engine, "connect", _prepare_shared_sqlite if self.is_shared else _prepare_sqlite)
        # A write transaction that starts as a reader can fail at its first write in spite of the time-out.
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine

    def writer(self) -> sa.Connection:
        """A connection for writing; its transactions take the write lock when they begin."""
        connection = self.engine.connect().execution_options(balsam_writes=True)
        if self.is_sqlite:
            _raw(connection).execute(f"PRAGMA cache_size = -{_WRITER_KIB}")
        return connection

    def reader(self) -> sa.Connection:
        """A connection for reading; give it back with ``close``."""
        connection = self.engine.connect()
        if self.is_sqlite:
            _raw(connection).execute(f"PRAGMA cache_size = -{_READER_KIB}")  # it may have been a writer's
        return connection

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()


def _raw(connection: sa.Connection) -> Any:
    return connection.connection.dbapi_connection


_INVALID_URL = (
    "the database URL is not valid: it must look like postgresql://USER:PASSWORD@HOST:PORT/NAME, where "
    "the characters @ : / ? # % in user and password are written as %40 %3A %2F %3F %23 %25"
)


def _with_driver(url: sa.URL) -> sa.URL:
    """The URL with the driver that we use, where it names none, and its password where it does not show."""
    if "@" in (url.host or ""):
        raise ValueError("a part of the password was taken for the host")
    if "password" in url.query:
        password = url.query["password"]
        url = url.difference_update_query(["password"])
        url = url.set(password=password if isinstance(password, str) else password[-1])
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg2")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise SiteError(f"the database {url.render_as_string()} is neither SQLite nor PostgreSQL")
    return url


def _prepare_sqlite(connection: sqlite3.Connection, record: object) -> None:
    _prepare(connection, "WAL", "FULL")


def _prepare_shared_sqlite(connection: sqlite3.Connection, record: object) -> None:
    # A write-ahead log needs memory that all hosts share. With a journal, only EXTRA syncs its removal: the commit.
    _prepare(connection, "DELETE", "EXTRA")


def _prepare(connection: sqlite3.Connection, journal: str, synchronous: str) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA journal_mode = {journal}")
    cursor.execute(f"PRAGMA synchronous = {synchronous}")
    cursor.execute("PRAGMA temp_store = MEMORY")
    cursor.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    cursor.execute(f"PRAGMA journal_size_limit = {KEPT_LOG_BYTES}")
    cursor.close()
    # SQLite's own lower() knows ASCII only.
    connection.create_function("lower", 1, lambda text: text.lower() if isinstance(text, str) else text)
    connection.create_function("regexp", 2, _regexp, deterministic=True)


def _prepare_postgresql(connection: Any, record: Any) -> None:
    import psycopg2.extensions

    # UUIDs are texts everywhere in this service; SQLAlchemy asks the driver for objects.
    plain = psycopg2.extensions.new_type((_UUID_OID,), "UUID", lambda value, cursor: value)
    psycopg2.extensions.register_type(plain, connection)
    with connection.cursor() as cursor:
        cursor.execute(_FIND_LOWERING)
        found = cursor.fetchone()
    connection.rollback()
    record.info["lowering"] = found[0] if found else ""


# A database of the locale C (as ours is, for its order) lowers ASCII only; so we ask for a collation that does more.
_LOWERINGS = "'pg_c_utf8', 'und-x-icu', 'C.utf8', 'C.UTF-8', 'en_US.utf8'"
_FIND_LOWERING = f"""SELECT CASE WHEN lower('É') = 'é' THEN '' ELSE collname END FROM pg_collation
    WHERE collname IN ({_LOWERINGS})
    AND collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))
    ORDER BY array_position(ARRAY[{_LOWERINGS}], collname::text) LIMIT 1"""


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("balsam_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class _RegexDeadline(threading.local):
    until: float = 0.0


_regex_deadline = _RegexDeadline()


@contextlib.contextmanager
def regex_bounded(connection: sa.Connection, regex: str) -> Iterator[None]:
    """Around a query: one that holds a regular expression is cut off when that takes too long.

    Raises:
        ValidationError: it did; names the expression.
    """
    if not regex:
        yield
        return
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        _regex_deadline.until = time.monotonic() + REGEX_SECONDS
    else:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {round(REGEX_SECONDS * 1000)}")
    try:
        yield
    except DBAPIError as error:
        problem = translate_error(error)
        if problem is None or problem.field != "regex":
            raise
        raise ValidationError(f"regular expression {regex!r}: {problem}", field="regex") from None
    if not sqlite:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


def _regexp(pattern: str, text: object) -> bool:
    left = _regex_deadline.until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return text is not None and _compiled(pattern).search(str(text), timeout=min(left, REGEX_TEXT_SECONDS)) is not None


def among(column: sa.ColumnElement[Any], values: Sequence[Any], *, sqlite: bool) -> sa.ColumnElement[bool]:
    """Whether a column has one of many values. SQLite takes a bounded number of parameters, so it gets them as one."""
    if not sqlite or len(values) <= _MOST_BOUND:
        return column.in_(values)
    finite = [value for value in values if not isinstance(value, float) or math.isfinite(value)]
    table = sa.func.json_each(json.dumps(finite)).table_valued("value")
    return column.in_(sa.select(table.c.value))


@functools.lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    import regex  # bounded in time, which re is not

    return regex.compile(pattern)


def translate_error(error: Exception) -> BalsamError | None:
    """What a database error means to a caller; None: it is a bug of ours."""
    original = error.orig if isinstance(error, DBAPIError) else error
    text = str(original).strip().split("\n")[0]
    kind = type(original).__name__
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Unavailable("no database", reason=NO_DATABASE)
    if isinstance(error, sa.exc.TimeoutError):
        return ResourceExhausted("too many reads are under way; try again shortly", reason=BUSY)
    if "user-defined function" in text or "statement timeout" in text:
        return ValidationError("it takes too long; make it simpler", field="regex")
    if "invalid regular expression" in text:
        return ValidationError(text, field="regex")
    if ("full" in text and "disk" in text) or "No space left" in text:
        return ResourceExhausted("no room on the disk of the database; make some and try again")
    sqlite_code = getattr(original, "sqlite_errorcode", 0) & 0xFF
    if sqlite_code == sqlite3.SQLITE_ERROR:
        return None  # it does not understand us
    if sqlite_code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        # Not "away": waiting helps nobody, and what is on other pages is served.
        return BalsamError(f"the database is damaged ({text}); see docs/operating.md", reason="DATABASE_DAMAGED")
    # Without a code of PostgreSQL: what libpq says of a connection that broke. 57P: it stops, starts, or has crashed;
    # 25P03: nothing came from us for too long.
    code = getattr(original, "pgcode", None) or ""
    if kind in ("OperationalError", "InterfaceError", "DatabaseError") or code.startswith(("08", "57P", "53", "25P03")):
        return Unavailable(f"no database: {text}", reason=NO_DATABASE)
    return None


def is_interference(error: Exception) -> bool:
    """Whether a transaction failed because another job store wrote at the same time: done again, it may succeed."""
    return getattr(getattr(error, "orig", error), "pgcode", None) in _INTERFERENCE


_INTERFERENCE = frozenset({"40P01", "40001", "23505"})  # deadlock, serialization, what another one has just added


def as_database_error(error: OSError) -> Exception:
    """What a database raises for an error of its system; for failpoints."""
    return sa.exc.OperationalError("", None, sqlite3.OperationalError(error.strerror))


_NAMED = re.compile(r"(?<![:\w]):(\w+)")
_KEYS = re.compile(r"\{(\w+)\}")


class Sql:
    """Hot statements as text on one connection: prepared once, without a compiler between.

    Parameters are written ``:name``, a list of keys ``= {name}`` (``key = {keys}``: one of the list).
    """

    def __init__(self, connection: sa.Connection, is_sqlite: bool) -> None:
        self.connection = connection
        self.is_sqlite = is_sqlite
        self._raw: Any = connection.connection.dbapi_connection

    def run(self, text: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Runs a statement; rows where it gives any."""
        cursor = self._raw.cursor()
        try:
            if self.is_sqlite:
                for name, value in parameters.items():
                    if type(value) is list:
                        parameters[name] = json.dumps(value)
            cursor.execute(_for_sqlite(text) if self.is_sqlite else _for_postgresql(text), parameters)
            return cursor.fetchall() if cursor.description else []
        finally:
            cursor.close()

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Inserts many rows by few statements."""
        if not self.is_sqlite and len(rows) > _BLOCKS[2]:
            self._copy(table, columns, rows)
            return
        mark = "?" if self.is_sqlite else "%s"
        cursor = self._raw.cursor()
        most = _MOST_PARAMETERS // len(columns)
        start = 0
        for size in _BLOCKS:
            while size <= most and len(rows) - start >= size:
                flat = [value for row in rows[start : start + size] for value in row]
                cursor.execute(_insert_text(table, tuple(columns), size, mark), flat)
                start += size
        cursor.close()

    def insert_new(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> int:
        """Inserts rows by one statement, those that are not there by a unique column; returns how many."""
        cursor = self._raw.cursor()
        if self.is_sqlite:
            cursor.executemany(f"{_insert_text(table, tuple(columns), 1, '?')} ON CONFLICT DO NOTHING", rows)
        else:
            text = f"{_insert_text(table, tuple(columns), len(rows), '%s')} ON CONFLICT DO NOTHING"
            cursor.execute(text, [value for row in rows for value in row])
        inserted = int(cursor.rowcount)
        cursor.close()
        return inserted

    def _copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        lines = io.StringIO()
        for row in rows:
            lines.write("\t".join([_copy_text(value) for value in row]))
            lines.write("\n")
        lines.seek(0)
        cursor = self._raw.cursor()
        cursor.copy_expert(f"COPY {table} ({', '.join(columns)}) FROM STDIN", lines)
        cursor.close()


@functools.lru_cache(maxsize=1000)
def _for_sqlite(text: str) -> str:
    return _KEYS.sub(r"IN (SELECT value FROM json_each(:\1))", text.replace("= {", "{"))


@functools.lru_cache(maxsize=1000)
def _for_postgresql(text: str) -> str:
    text = text.replace("%", "%%")
    return _NAMED.sub(r"%(\1)s", _KEYS.sub(r"ANY(:\1)", text))


@functools.lru_cache(maxsize=200)
def _insert_text(table: str, columns: tuple[str, ...], rows: int, mark: str) -> str:
    row = f"({', '.join([mark] * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}"


_COPY_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copy_text(value: Any) -> str:
    if value is None:
        return "\\N"
    return value.translate(_COPY_ESCAPES) if type(value) is str else str(value)


def now_us() -> int:
    """Microseconds since 1970, UTC, by this host's clock."""
    return time.time_ns() // 1000


def sqlite_url(directory: Path) -> sa.URL:
    """The URL of the embedded database in a directory."""
    return sa.URL.create("sqlite", database=str(directory / "balsam.db"))
