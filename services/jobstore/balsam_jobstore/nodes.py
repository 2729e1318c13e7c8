"""Names of nodes where runs failed, each a row; events name them by number."""

from __future__ import annotations

from collections.abc import Iterable

from balsam_jobstore.database import Sql

MOST_CHARACTERS = 253
"""Of a name: as many as a host name may have."""


def clean(name: str) -> str:
    """A name as it may be kept and shown: cut, and empty where it holds what is not to be printed."""
    return name[:MOST_CHARACTERS] if name.isprintable() else ""


def keys_of(sql: Sql, names: Iterable[str]) -> dict[str, int]:
    """Name -> key, of all of these; a name that is new gets one."""
    wanted = sorted(set(names) - {""})
    if not wanted:
        return {}
    text = "SELECT name, key FROM node WHERE name = {names}"
    found: dict[str, int] = dict(sql.run(text, names=wanted))
    new = [(name,) for name in wanted if name not in found]
    if new:
        sql.insert_new("node", ("name",), new)
        found = dict(sql.run(text, names=wanted))
    return found
