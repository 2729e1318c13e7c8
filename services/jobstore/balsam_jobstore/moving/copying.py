"""Copies the tables of one database to another, row by row, and compares both afterwards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from balsam_jobstore import schema
from balsam_jobstore.database import Database, Sql
from balsam_jobstore.moving.exporting import snapshot
from balsam_jobstore.moving.plain_json import canonical

TABLES = schema.metadata.sorted_tables
NUMBERED = {table.name: table.autoincrement_column.name for table in TABLES if table.autoincrement_column is not None}
"""Table -> the column of its keys, of those whose keys the database gives."""
_NEVER_TWICE = {name for name in NUMBERED if schema.metadata.tables[name].dialect_options["sqlite"]["autoincrement"]}
_AT_ONCE = 2000
_LARGE = 2**256


@dataclass(frozen=True)
class Summary:
    """What a table holds: rows, a sum of the checksums of all of them, and the last number it has given."""

    rows: int
    checksum: str
    last_number: int = 0


def copy_tables(source: Database, target: Database) -> None:
    """Copies all rows, in one transaction. The tables of the target are there, and hold nothing that stays."""
    with source.reader() as reading, snapshot(reading, source), target.writer() as connection, connection.begin():
        sql = Sql(connection, target.is_sqlite)
        for table in TABLES:
            sql.run(f"DELETE FROM {table.name}")
            for rows in _rows(reading, table):
                if not target.is_sqlite:
                    rows = [[_for_copy(value) for value in row] for row in rows]
                sql.insert(table.name, [column.name for column in table.columns], rows)
        for name, number in last_numbers(Sql(reading, source.is_sqlite)).items():
            _set_last_number(sql, name, number)


def _for_copy(value: Any) -> Any:
    """A value as PostgreSQL takes it from a text."""
    return f"\\x{value.hex()}" if type(value) is bytes else value


def summaries(database: Database) -> dict[str, Summary]:
    """Table -> what it holds, read from the database."""
    with database.reader() as connection, snapshot(connection, database) as sql:
        numbers = {name: number for name, number in last_numbers(sql).items() if name in _NEVER_TWICE}
        return {table.name: _summary(connection, table, numbers.get(table.name, 0)) for table in TABLES}


def _summary(connection: sa.Connection, table: sa.Table, last_number: int) -> Summary:
    json_places = [place for place, column in enumerate(table.columns) if column.type is schema.Json]
    count = total = 0
    for rows in _rows(connection, table):
        for row in rows:
            values = list(row)
            for place in json_places:
                values[place] = canonical(values[place])
            digest = hashlib.sha256(json.dumps(values, default=bytes.hex).encode()).digest()
            # A sum, so that it does not matter in which order a database gives its rows.
            total = (total + int.from_bytes(digest)) % _LARGE
            count += 1
    return Summary(count, f"{total:064x}", last_number)


def _rows(connection: sa.Connection, table: sa.Table) -> Iterator[Sequence[Sequence[Any]]]:
    """The rows of a table, many at once; JSON as its text."""
    columns = [sa.cast(column, sa.Text) if column.type is schema.Json else column for column in table.columns]
    query = sa.select(*columns).order_by(*table.primary_key)
    for rows in connection.execution_options(yield_per=_AT_ONCE).execute(query).partitions():
        yield [[bytes(value) if type(value) is memoryview else value for value in row] for row in rows]


def last_numbers(sql: Sql) -> dict[str, int]:
    """Table -> the last number that was given to a row of it: where none is given twice, also of a row that is gone."""
    if sql.is_sqlite:
        given = dict(sql.run("SELECT name, seq FROM sqlite_sequence"))
        return {name: int(given.get(name) or _greatest(sql, name)) for name in NUMBERED}
    numbers = {}
    for name, column in NUMBERED.items():
        ((sequence,),) = sql.run(f"SELECT pg_get_serial_sequence('{name}', '{column}')")
        ((last, is_called),) = sql.run(f"SELECT last_value, is_called FROM {sequence}")
        numbers[name] = int(last) if is_called else int(last) - 1
    return numbers


def _greatest(sql: Sql, name: str) -> int:
    ((number,),) = sql.run(f"SELECT coalesce(max({NUMBERED[name]}), 0) FROM {name}")
    return int(number)


def _set_last_number(sql: Sql, name: str, number: int) -> None:
    if not sql.is_sqlite:
        text = "SELECT setval(pg_get_serial_sequence(:name, :column), :number, :given)"
        sql.run(text, name=name, column=NUMBERED[name], number=max(number, 1), given=number > 0)
    elif name in _NEVER_TWICE:
        sql.run("DELETE FROM sqlite_sequence WHERE name = :name", name=name)
        sql.run("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :number)", name=name, number=number)
