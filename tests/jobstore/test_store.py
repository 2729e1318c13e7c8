"""The job store as a whole, in one process: sessions that end, restarts, and a database that comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy as sa

from balsam.errors import NotFound, Unavailable
from balsam.serving import CALLER, Caller
from balsam.site import Site
from balsam.states import Actor, State
from balsam.v1 import job_service_pb2
from balsam_jobstore import creation, leases, sessions
from balsam_jobstore.access import RunTokens
from balsam_jobstore.database import Database
from balsam_jobstore.events import EventFilter, read_events
from balsam_jobstore.leases import Report
from balsam_jobstore.server.jobs import JobService
from balsam_jobstore.sessions import LAUNCHER, SCHEDULER, Session, new_id
from balsam_jobstore.store import Store
from balsam_jobstore.tx import Outcome, Tx
from balsam_jobstore.users import Users
from tests.support.store import RULE_SET, Bench, job

S = State


def session(kind: int = LAUNCHER, request_id: str = "", host: str = "node1") -> Session:
    return Session(new_id(), request_id or new_id(), kind, host, 1, "me", "1", 0, 1, "auto", "", "")


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    database = Database(store_url)
    yield database
    database.close()


@contextlib.asynccontextmanager
async def started(database: Database, lease_seconds: float = 60.0) -> Any:
    """A job store that runs, without its server."""
    settings = SimpleNamespace(lease_seconds=lease_seconds, audit_days=365)
    site = SimpleNamespace(settings=settings, set_aside=Path("/nowhere"))
    store = Store(cast(Site, site), database, RunTokens(b"key"), Users("me"))
    await store.start()
    try:
        yield store
    finally:
        await asyncio.to_thread(store.writer.stop)


def test_a_request_opens_one_session_however_often_it_comes(database: Database) -> None:
    async def main() -> None:
        async with started(database) as store:
            request = new_id()
            at_once = await asyncio.gather(*[store.open_session(session(request_id=request)) for _ in range(5)])
            later = await store.open_session(session(request_id=request))
            assert len({id(opened) for opened in (*at_once, later)}) == 1
            assert len(store.sessions.all()) == 1
            other = await store.open_session(session())
            assert other.key > later.key

    asyncio.run(main())


def test_a_session_whose_opener_went_away_meanwhile_is_known_and_ends(database: Database) -> None:
    """Written, but known to nobody, it would stay for ever."""

    async def main() -> None:
        async with started(database, lease_seconds=0.3) as store:
            opening = asyncio.create_task(store.open_session(session()))
            await asyncio.sleep(0)  # as far as the first wait, which is for the database
            opening.cancel()
            deadline = time.monotonic() + 20
            while not store.sessions.all() and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            assert len(store.sessions.all()) == 1
            sweeper = asyncio.create_task(store.sweep())
            while store.sessions.all() and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            assert await store.writer.do(sessions.load) == []
            sweeper.cancel()

    asyncio.run(main())


def test_a_session_whose_closer_went_away_is_tried_again_where_the_database_was(database: Database) -> None:
    async def main() -> None:
        async with started(database) as store:
            opened = await store.open_session(session())

            def fail(tx: Tx) -> None:
                raise Unavailable("the database is away")

            original = store.writer.do
            failing = asyncio.Event()

            async def away(command: Callable[[Tx], Any]) -> Any:
                await failing.wait()
                return await original(fail)

            store.writer.do = away  # type: ignore[method-assign,assignment]
            closing = asyncio.create_task(store.end_session(opened, "was closed"))
            await asyncio.sleep(0)
            closing.cancel()
            failing.set()
            deadline = time.monotonic() + 20
            while not store.sessions.all() and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            assert store.sessions.all() == [opened]

    asyncio.run(main())


def test_a_session_that_is_not_renewed_ends_and_one_that_is_does_not(database: Database) -> None:
    async def main() -> None:
        async with started(database, lease_seconds=0.3) as store:
            silent, alive = [await store.open_session(session()) for _ in range(2)]
            sweeper = asyncio.create_task(store.sweep())
            deadline = time.monotonic() + 20
            while silent in store.sessions.all() and time.monotonic() < deadline:
                store.sessions.renew(alive.session_id)
                await asyncio.sleep(0.02)
            assert store.sessions.all() == [alive]
            with pytest.raises(NotFound, match=r"session .* has ended") as caught:
                store.sessions.renew(silent.session_id)
            assert caught.value.reason == "SESSION_ENDED"
            sweeper.cancel()

    asyncio.run(main())


def test_sessions_that_were_taken_up_have_their_time_from_when_they_can_be_renewed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever finds nobody listening takes the job store for dead, and its own lease for good."""
    now = 1000.0
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now)
    found, taken_up = session(), sessions.Sessions(lease_seconds=2.0)
    taken_up.restore([found])
    now = 1010.0  # it was stopped while it started
    taken_up.begin()
    assert not found.is_expired
    now = 1012.0
    assert found.is_expired


def test_a_session_that_is_renewed_while_another_is_ended_lives(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with started(database) as store:
            first, late = [await store.open_session(session()) for _ in range(2)]
            first.deadline = late.deadline = time.monotonic()
            end, ended = store.end_session, asyncio.Event()

            async def end_slowly(expired: Session, reason: str) -> int:
                if not ended.is_set():
                    store.sessions.renew(late.session_id)  # comes while the first is being ended
                released = await end(expired, reason)
                ended.set()
                return released

            monkeypatch.setattr(store, "end_session", end_slowly)
            sweeper = asyncio.create_task(store.sweep())
            await asyncio.wait_for(ended.wait(), 20)
            # What was queued after the end of the first has been done: the sweep is over.
            await store.open_session(session())
            assert late in store.sessions.all()
            assert first not in store.sessions.all()
            sweeper.cancel()

    asyncio.run(main())


def test_a_new_scheduler_ends_the_session_of_a_dead_one_soon(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("balsam_jobstore.sessions.GUARD_SECONDS", 0.2)

    async def main() -> None:
        async with started(database, lease_seconds=600) as store:
            sweeper = asyncio.create_task(store.sweep())
            dead = await store.open_session(session(SCHEDULER))
            elsewhere = await store.open_session(session(SCHEDULER, host="node2"))
            launcher = await store.open_session(session())
            await asyncio.sleep(0)
            alive = await store.open_session(session(SCHEDULER))
            deadline = time.monotonic() + 20
            while dead in store.sessions.all() and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            assert store.sessions.all() == [elsewhere, launcher, alive]
            sweeper.cancel()

    asyncio.run(main())


def test_an_old_scheduler_that_could_not_be_ended_does_not_end_the_new_one(database: Database) -> None:
    async def main() -> None:
        async with started(database) as store:
            old, new = [await store.open_session(session(SCHEDULER)) for _ in range(2)]
            store.sessions.adopt(old)
            assert new.deadline > time.monotonic() + 30

    asyncio.run(main())


def test_a_session_that_cannot_be_ended_now_is_ended_when_the_database_is_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with started(database, lease_seconds=0.3) as store:
            opened = await store.open_session(session())
            with monkeypatch.context() as patch:
                patch.setattr(store.writer, "do", _unavailable)
                with pytest.raises(Unavailable):
                    await store.end_session(opened, "was closed")
            assert store.sessions.all() == [opened]
            sweeper = asyncio.create_task(store.sweep())
            deadline = time.monotonic() + 20
            while store.sessions.all() and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            assert await store.writer.do(lambda tx: tx.sql.run("SELECT count(*) FROM session")) == [(0,)]
            sweeper.cancel()

    asyncio.run(main())


async def _unavailable(command: object) -> None:
    raise Unavailable("no database", reason="NO_DATABASE")


def test_a_restart_takes_up_sessions_leases_and_the_history(database: Database) -> None:
    bench = Bench(database)
    bench.schedule()
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    launcher.start(launcher.grant("a"))
    grant = launcher.grant("a")
    bench.close()

    async def main() -> None:
        async with started(database) as store:
            assert [s.session_id for s in store.sessions.all() if s.kind == LAUNCHER] == [launcher.session.session_id]
            assert (
                min(s.deadline for s in store.sessions.all()) > time.monotonic() + 30
            )  # of 60: time to show themselves
            assert store.hub.sequence == bench.events[-1].sequence
            token = store.tokens.make(grant.row_key, grant.fence)
            assert store.tokens.job_id(token) == job_id
            opened = store.sessions.get(launcher.session.session_id)
            report = Report(grant.row_key, grant.fence, [(int(S.RUN_DONE), 0)], 0, "", True)
            assert await store.writer.do(lambda tx: leases.apply_reports(tx, opened, [report])) == []
            assert store.tokens.job_id(token) == ""
            scheduler = next(s for s in store.sessions.all() if s.kind == SCHEDULER)
            assert await store.register_rules(scheduler, RULE_SET) == 1  # rules are void until they are said again

    asyncio.run(main())
    with database.reader() as connection:
        assert connection.exec_driver_sql("SELECT state FROM job").all() == [(S.JOB_FINISHED,)]


def test_changes_of_many_jobs_in_one_call_share_few_commits(database: Database) -> None:
    async def main() -> None:
        CALLER.set(Caller("me", "owner"))
        async with started(database) as store:
            store.site.data = "/data"
            service = JobService(store)
            ids = [new_id() for _ in range(300)]
            made = [job(f"j{i}", job_id=job_id) for i, job_id in enumerate(ids)]
            await store.writer.do(lambda tx: creation.create(tx, made, owner="me", actor=Actor.USER, atomic=True))

            commits = 0
            committed = store.committed

            def counted(outcome: Outcome) -> None:
                nonlocal commits
                commits += 1
                committed(outcome)

            store.committed = counted
            update = job_service_pb2.UpdateJobsRequest()
            for job_id in (*ids, ids[0]):
                update.updates.add(
                    job={"job_id": job_id, "priority": 3 + (job_id == ids[0])}, update_mask={"paths": ["priority"]}
                )
            answer = await service.UpdateJobs(update, None)
            assert (answer.updated, list(answer.revisions)) == (301, [2] * 301)
            change = job_service_pb2.ChangeDependenciesRequest()
            for before, after in itertools.pairwise(ids):
                change.add.add(parent_id=before, child_id=after)
            assert (await service.ChangeDependencies(change, None)).added == 299
            assert commits <= 10

            change.ClearField("add")
            change.add.add(parent_id=ids[-1], child_id=ids[0])
            change.remove.add(parent_id=ids[0], child_id=ids[1])
            change.remove.add(parent_id=ids[0], child_id=ids[1])
            answer = await service.ChangeDependencies(change, None)
            assert (answer.added, answer.removed) == (0, 1)
            assert [(item.index, item.reason) for item in answer.refusals] == [(0, "CYCLE"), (2, "NOT_FOUND")]

    asyncio.run(main())


def test_unknown_sessions_change_nothing(bench: Bench) -> None:
    for _ in range(1000):
        with pytest.raises(NotFound):
            bench.store.sessions.renew(str(uuid.uuid4()))
    launcher = bench.launcher(jobs=1)
    bench.add("a")
    bench.end(launcher)
    for number in range(300):
        report = Report(number, number % 3, [(int(S.RUN_DONE), 0)], 0, "", True)
        assert bench.do(lambda tx, r=report: leases.apply_reports(tx, launcher.session, [r])) == [
            (report.key, report.fence)
        ]


def test_a_run_s_token_lives_as_long_as_its_lease(bench: Bench) -> None:
    tokens = bench.store.tokens
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    grant = launcher.grant("a")
    token = tokens.make(grant.row_key, grant.fence)
    assert tokens.job_id(token) == job_id
    assert tokens.job_id(tokens.make(grant.row_key, grant.fence + 1)) == ""
    assert tokens.job_id(token[:-1] + ("0" if token[-1] != "0" else "1")) == ""
    assert RunTokens(b"another site").job_id(token) == ""
    launcher.report(grant, release=True)
    assert tokens.job_id(token) == ""
    launcher.give(jobs=1)
    assert tokens.job_id(token) == ""
    assert tokens.job_id(tokens.make(grant.row_key, grant.fence + 1)) == job_id


# A commit of which nobody knows whether it was done


@pytest.fixture
def cut_in_commit(bench: Bench) -> Callable[[Callable[[Tx], object]], None]:
    """Runs a command whose commit is done, and whose connection breaks before that is known."""

    def cut(command: Callable[[Tx], object]) -> None:
        def committed_but(connection: sa.Connection) -> None:
            connection.connection.dbapi_connection.commit()  # type: ignore[union-attr]
            raise sa.exc.OperationalError("COMMIT", None, ConnectionError("cut"), connection_invalidated=True)

        sa.event.listen(bench.database.engine, "commit", committed_but)
        try:
            with pytest.raises(Unavailable):
                bench.do(command)
        finally:
            sa.event.remove(bench.database.engine, "commit", committed_but)
        bench.store.disconnected()

    return cut


def test_what_a_lost_commit_granted_is_told_when_the_line_is_opened_again(
    bench: Bench, cut_in_commit: Callable[[Callable[[Tx], object]], None]
) -> None:
    launcher = bench.launcher(jobs=2)
    new = job("a")
    cut_in_commit(lambda tx: creation.create(tx, [new], owner="me", actor=Actor.USER, atomic=False))
    assert launcher.grants == []
    assert launcher.replaced  # its line is closed
    assert bench.row(new.job_id).session == launcher.session.key

    assert bench.create(new).existing == 1  # as the caller tries again
    launcher.attach()
    grant = launcher.grant("a")
    token = bench.store.tokens.make(grant.row_key, grant.fence)
    assert bench.store.tokens.job_id(token) == new.job_id
    assert bench.store.hub.sequence == bench.events_of(new.job_id)[-1].sequence
    launcher.finish(grant)
    _add_unpublished(bench)


def test_the_end_of_a_run_in_a_lost_commit_counts_once(
    bench: Bench, cut_in_commit: Callable[[Callable[[Tx], object]], None]
) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    grant = launcher.grant("a")
    passages = [(int(S.RUNNING), 0), (int(S.RUN_DONE), 0)]
    report = Report(grant.row_key, grant.fence, passages, 0, "", True)
    cut_in_commit(lambda tx: leases.apply_reports(tx, launcher.session, [report]))
    assert bench.state(job_id) is S.JOB_FINISHED
    launcher.attach(grant)
    assert launcher.stops == [(grant.row_key, grant.fence)]
    assert not launcher.report(grant, S.RUNNING, S.RUN_DONE, release=True)
    assert bench.history(job_id).count(S.RUN_DONE) == 1
    assert bench.store.hub.after(2) is None  # who stands before it reads the database
    _add_unpublished(bench)


def _add_unpublished(bench: Bench) -> None:
    """The invariants are told of the events that nobody could be told of."""
    with bench.database.reader() as connection:
        bench.events[:] = read_events(connection, EventFilter(), 0, 1000)
