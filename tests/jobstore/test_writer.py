"""Group commit: few transactions for many callers, and each gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
import sqlalchemy as sa

from balsam import failpoints
from balsam.errors import BalsamError, NotAllowed, ResourceExhausted, Unavailable
from balsam.states import Actor
from balsam_jobstore import creation
from balsam_jobstore.database import Database
from balsam_jobstore.tx import Outcome, Tx
from balsam_jobstore.writer import Writer
from tests.support.postgres import execute
from tests.support.store import Held, job


class Counted:
    """Takes part in every transaction, and counts those that commit."""

    def __init__(self) -> None:
        self.commits: list[Outcome] = []
        self.taken_back = 0
        self.disconnects = 0

    def before_commit(self, tx: Tx) -> Callable[[], None]:
        return self._take_back

    def _take_back(self) -> None:
        self.taken_back += 1

    def committed(self, outcome: Outcome) -> None:
        self.commits.append(outcome)

    def examine(self, tx: Tx, keys: list[int]) -> int:
        return 0

    def disconnected(self) -> None:
        self.disconnects += 1


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    database = Database(store_url)
    yield database
    database.close()


def run(database: Database, work: Callable[[Writer, Counted], Awaitable[None]]) -> Counted:
    """Does something with a writer that runs, and stops it."""

    async def main() -> Counted:
        hooks = Counted()
        writer = Writer(database, asyncio.get_running_loop(), hooks)
        writer.start()
        try:
            await work(writer, hooks)
        finally:
            await asyncio.to_thread(writer.stop)
        return hooks

    return asyncio.run(main())


def adds(name: str) -> Callable[[Tx], creation.Created]:
    """A command that adds a job."""
    new = job(name)
    return lambda tx: creation.create(tx, [new], owner="me", actor=Actor.USER, atomic=False)


def names(database: Database) -> list[str]:
    """Names of the jobs that there are, in the order of their creation."""
    with database.reader() as connection:
        return list(connection.exec_driver_sql("SELECT name FROM job ORDER BY key").scalars())


def test_many_callers_share_few_commits(database: Database) -> None:
    async def work(writer: Writer, hooks: Counted) -> None:
        held = Held()
        first = asyncio.ensure_future(writer.do(held))
        await asyncio.to_thread(held.reached.wait)
        waiting = [asyncio.ensure_future(writer.do(adds(f"j{i:03}"))) for i in range(500)]
        await asyncio.sleep(0)
        held.go.set()
        made = await asyncio.gather(first, *waiting)
        assert [created.created for created in made[1:]] == [1] * 500

    hooks = run(database, work)
    assert len(hooks.commits) == 3  # the first, and two groups of 256 at most
    assert names(database) == [f"j{i:03}" for i in range(500)]


def test_a_caller_alone_waits_for_nobody(database: Database) -> None:
    async def work(writer: Writer, hooks: Counted) -> None:
        for i in range(5):
            await writer.do(adds(f"j{i}"))

    assert len(run(database, work).commits) == 5


def test_nobody_is_answered_or_told_before_the_commit(database: Database) -> None:
    def fail(connection: sa.Connection) -> None:
        raise RuntimeError("no commit")

    async def work(writer: Writer, hooks: Counted) -> None:
        sa.event.listen(database.engine, "commit", fail)
        with pytest.raises(RuntimeError, match="no commit"):
            await writer.do(adds("a"))
        sa.event.remove(database.engine, "commit", fail)
        assert (hooks.commits, hooks.taken_back) == ([], 1)
        await writer.do(adds("b"))

    hooks = run(database, work)
    assert names(database) == ["b"]
    (outcome,) = hooks.commits
    assert [event.sequence for event in outcome.events] == [1]  # nor is a number used up


def test_one_that_fails_does_not_fail_the_others_of_its_group(database: Database) -> None:
    def refused(tx: Tx) -> None:
        adds("half done")(tx)
        raise NotAllowed("no")

    async def work(writer: Writer, hooks: Counted) -> None:
        held = Held()
        first = asyncio.ensure_future(writer.do(held))
        await asyncio.to_thread(held.reached.wait)
        commands = [adds("a"), refused, adds("b"), refused, adds("c")]
        waiting = [asyncio.ensure_future(writer.do(command)) for command in commands]
        await asyncio.sleep(0)
        held.go.set()
        await first
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(answer, NotAllowed) for answer in done] == [False, True, False, True, False]

    hooks = run(database, work)
    assert names(database) == ["a", "b", "c"]
    sequences = [event.sequence for outcome in hooks.commits for event in outcome.events]
    assert sequences == [1, 2, 3]


def test_what_may_have_been_committed_is_not_done_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(writer: Writer, hooks: Counted) -> None:
        held = Held()
        first = asyncio.ensure_future(writer.do(held))
        await asyncio.to_thread(held.reached.wait)
        waiting = [asyncio.ensure_future(writer.do(adds(name))) for name in ("a", "b", "c")]
        await asyncio.sleep(0)
        lose = iter([False, True])

        def hit(name: str, failure: failpoints.Failure | None = None) -> None:
            if name == "jobstore.after-commit" and next(lose, False):
                assert failure is not None
                raise failure(OSError("the line broke"))

        monkeypatch.setattr(failpoints, "hit", hit)
        held.go.set()
        await first
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in done] == [Unavailable] * 3

    run(database, work)
    assert names(database) == ["a", "b", "c"]


def test_an_error_of_ours_is_told_to_its_caller_only(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    def broken(tx: Tx) -> None:
        tx.sql.run("SELECT nothing FROM nowhere")

    async def work(writer: Writer, hooks: Counted) -> None:
        with pytest.raises(Exception, match=r"nothing|nowhere"):
            await writer.do(broken)
        await writer.do(adds("a"))

    hooks = run(database, work)
    assert names(database) == ["a"]
    assert "a command failed" in caplog.text
    assert hooks.disconnects == 0


def test_too_much_in_the_queue_is_refused_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("balsam_jobstore.writer.MOST_QUEUED", 3)

    async def work(writer: Writer, hooks: Counted) -> None:
        held = Held()
        first = asyncio.ensure_future(writer.do(held))
        await asyncio.to_thread(held.reached.wait)
        waiting = [asyncio.ensure_future(writer.do(adds(f"j{i}"))) for i in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted, match="3 writes are under way, which is the limit"):
            await writer.do(adds("too much"))
        held.go.set()
        await asyncio.gather(first, *waiting)
        await writer.do(adds("room again"))

    run(database, work)
    assert names(database) == ["j0", "j1", "j2", "room again"]


def test_what_is_queued_when_it_stops_is_written(database: Database) -> None:
    async def work(writer: Writer, hooks: Counted) -> None:
        for i in range(20):
            writer.submit(adds(f"j{i}"))

    run(database, work)
    assert len(names(database)) == 20


def test_a_caller_that_goes_away_does_not_stop_what_it_asked_for(database: Database) -> None:
    async def work(writer: Writer, hooks: Counted) -> None:
        held = Held()
        first = asyncio.ensure_future(writer.do(held))
        await asyncio.to_thread(held.reached.wait)
        gone = asyncio.ensure_future(writer.do(adds("a")))
        await asyncio.sleep(0)
        gone.cancel()
        held.go.set()
        await first
        await writer.do(adds("b"))

    run(database, work)
    assert names(database) == ["a", "b"]


@pytest.mark.postgres
def test_a_connection_that_is_cut_is_opened_again(migrated_postgres: str, empty_database: Callable[[str], str]) -> None:
    database = Database(empty_database("postgres"))

    async def work(writer: Writer, hooks: Counted) -> None:
        await writer.do(adds("a"))
        (backend,) = (await writer.do(lambda tx: tx.sql.run("SELECT pg_backend_pid()")))[0]
        execute(migrated_postgres, f"SELECT pg_terminate_backend({backend})")
        with pytest.raises(Unavailable) as caught:
            await writer.do(adds("b"))
        assert caught.value.reason == "NO_DATABASE"
        await writer.do(adds("c"))

    hooks = run(database, work)
    assert names(database) == ["a", "c"]
    assert hooks.disconnects == 1
    assert [outcome.position is not None for outcome in hooks.commits] == [True, False, True]
    database.close()


@pytest.mark.postgres
def test_a_connection_that_is_cut_under_a_command_loses_that_command_only(
    migrated_postgres: str, empty_database: Callable[[str], str]
) -> None:
    database = Database(empty_database("postgres"))

    def cut(tx: Tx) -> None:
        adds("half done")(tx)
        (backend,) = tx.sql.run("SELECT pg_backend_pid()")[0]
        execute(migrated_postgres, f"SELECT pg_terminate_backend({backend})")
        adds("lost")(tx)

    async def work(writer: Writer, hooks: Counted) -> None:
        with pytest.raises(BalsamError, match="no database"):
            await writer.do(cut)
        await writer.do(adds("c"))

    run(database, work)
    assert names(database) == ["c"]
    database.close()
