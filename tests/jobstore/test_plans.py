"""Questions that are asked of a site with many jobs are answered from an index, whatever lies beside."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from balsam_jobstore import jobs, reading
from balsam_jobstore.events import EventFilter, read_events
from balsam_jobstore.query import Group, Node
from balsam_jobstore.query import Test as Compare
from tests.support.store import Bench, job, one

RUNNING = Compare("state", "exact", ("RUNNING",))


def plans(bench: Bench, ask: Any) -> str:
    """How SQLite does what is asked: the plans of all statements. What PostgreSQL does depends on how much there is: it
    is asked, and nothing is said of how."""
    found = []
    with bench.database.reader() as connection:

        def explain(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:
            beside = cursor.connection.cursor()
            beside.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found.extend(str(row[-1]) for row in beside.fetchall())
            beside.close()

        if bench.database.is_sqlite:
            sa.event.listen(connection, "before_cursor_execute", explain)
        ask(connection)
        if bench.database.is_sqlite:
            sa.event.remove(connection, "before_cursor_execute", explain)
    return "\n".join(found)


@pytest.mark.parametrize("node", [RUNNING, Compare("state", "in", ("RUNNING",)), Group("all", (RUNNING,))])
def test_what_runs_is_found_among_what_is_leased(bench: Bench, node: Node) -> None:
    bench.create(*[job(f"j{number}") for number in range(30)])
    launcher = bench.launcher(jobs=3)
    for name in ("j0", "j2"):
        launcher.start(launcher.grant(name))
    sqlite, names = bench.database.is_sqlite, []

    def ask(connection: sa.Connection) -> None:
        found, _ = reading.list_jobs(connection, sqlite, node, [], 10, "", ["job_id", "name"])
        names.extend(job["name"] for job in found)

    text = plans(bench, ask)
    assert "job_leased" in text or not sqlite
    assert names == ["j0", "j2"]
    with bench.database.reader() as connection:
        assert reading.count_jobs(connection, sqlite, Group("not", (node,)), [])[0] == 28


def test_the_history_of_a_job_is_found_where_many_are_gone(bench: Bench) -> None:
    ids = [bench.add(f"j{number}") for number in range(5)]
    gone, there = ids[:3], ids[3]
    bench.do(lambda tx: jobs.delete(tx, [one(tx, job_id) for job_id in gone], kill_running=False))
    wanted = EventFilter(frozenset({there, gone[0], str(uuid.uuid4())}))
    told: list[tuple[str, bool]] = []

    def ask(connection: sa.Connection) -> None:
        told.extend((event.job_id, event.deleted) for event in read_events(connection, wanted, 0, 100))

    text = plans(bench, ask)
    if bench.database.is_sqlite:
        assert "event_deleted" in text
        assert "event_job" in text
        assert "SCAN event" not in text
    assert set(told) == {(there, False), (gone[0], True)}
    assert told[-1] == (gone[0], True)
