"""Launchers' sessions that are over: when there were how many nodes. The newest are kept."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from balsam_jobstore import schema
from balsam_jobstore.amounts import Room, bytes_of_row
from balsam_jobstore.tx import Tx

KEPT = 20_000
"""Of so many sessions, the last of all kinds, those of launchers are kept."""

_MESSAGE_BYTES = 60
"""About so much of a session in a message is none of its texts."""
_FROM_SESSION = (
    *("key", "session_id", "host", "pid", "owner", "owner_key", "create_us"),
    *("nodes", "job_mode", "workflow_filter", "launch"),
)


@dataclass(frozen=True, slots=True)
class PastSession:
    """A launcher's session that is over."""

    session_id: str
    host: str
    pid: int
    owner: str
    create_us: int
    end_us: int
    nodes: int
    job_mode: str
    workflow_filter: str
    launch: int | None


_COLUMNS = [schema.ended_session.c[name] for name in PastSession.__dataclass_fields__]


def keep(tx: Tx, key: int) -> None:
    """A launcher's session ends; its row is still there, or nothing is kept a second time."""
    columns = ", ".join(_FROM_SESSION)
    # A key that is there already, in a database that was put together by hand, must not keep a session from ending.
    text = (
        f"INSERT INTO ended_session ({columns}, end_us) SELECT {columns}, :now FROM session WHERE key = :key "
        "ON CONFLICT (key) DO NOTHING"
    )
    tx.sql.run(text, now=tx.now_us, key=key)
    tx.sql.run("DELETE FROM ended_session WHERE key <= :last", last=key - KEPT)


def ended_after(connection: sa.Connection, time_us: int) -> list[PastSession]:
    """The sessions that ended after a time [us since 1970], oldest first: the last, as many as one answer can hold."""
    table = schema.ended_session
    query = sa.select(*_COLUMNS).where(table.c.end_us > time_us).order_by(table.c.key.desc())
    found, room = [], Room()
    for row in connection.execute(query):
        if not room.takes(_MESSAGE_BYTES + bytes_of_row(row)):
            break
        found.append(PastSession(str(row[0]), *row[1:]))
    return found[::-1]
