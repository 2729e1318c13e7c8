"""What the verbs have in common of resources that are one row each, such as applications and launches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from balsam.errors import Conflict
from balsam_jobstore.tx import Tx


def select(tx: Tx, table: str, columns: Sequence[str], condition: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of a table for which a condition holds."""
    return tx.sql.run(f"SELECT {', '.join(columns)} FROM {table} WHERE {condition}", **parameters)


def change(tx: Tx, table: str, key: int, changes: Mapping[str, Any]) -> None:
    """Writes new values of some columns of a row, which has another revision then; without any, nothing."""
    if changes:
        assignments = ", ".join(f"{column} = :{column}" for column in changes)
        text = f"UPDATE {table} SET {assignments}, revision = revision + 1 WHERE key = :key"
        tx.sql.run(text, key=key, **changes)


def check_revision(what: str, revision: int, expected: int) -> None:
    """Raises Conflict if a revision is expected (0: any is), and it is another one."""
    if expected and revision != expected:
        raise Conflict(
            f"{what} was changed meanwhile (revision {revision}, yours is of {expected}); refresh it and try again"
        )
