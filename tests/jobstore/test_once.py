"""Requests inside one job store: in the same commit, cut off in the middle, and when they are forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from balsam.errors import Conflict, Unavailable, ValidationError
from balsam.serving import CALLER, Caller
from balsam.site import Site
from balsam.states import State
from balsam.v1 import application_pb2, application_service_pb2, job_pb2, job_service_pb2, query_pb2, session_service_pb2
from balsam_jobstore.access import RunTokens
from balsam_jobstore.database import Database, Sql
from balsam_jobstore.server.applications import ApplicationService
from balsam_jobstore.server.jobs import JobService
from balsam_jobstore.server.sessions import SessionService
from balsam_jobstore.store import Store
from balsam_jobstore.users import Users
from tests.support.dumps import dump
from tests.support.store import Held

pb, apps_pb = job_service_pb2, application_service_pb2
Dependency = pb.Dependency


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    database = Database(store_url)
    yield database
    database.close()


@contextlib.asynccontextmanager
async def started(database: Database) -> AsyncIterator[Store]:
    """A job store that runs, without its server; the calls are mine."""
    CALLER.set(Caller(user="me", role="owner"))
    site = SimpleNamespace(
        settings=SimpleNamespace(lease_seconds=60.0, audit_days=0),
        data="/data",
        set_aside=Path("/nowhere"),
        address=str,
    )
    store = Store(cast(Site, site), database, RunTokens(b"key"), Users("me"))
    await store.start()
    try:
        yield store
    finally:
        await asyncio.to_thread(store.writer.stop)


def new_app(name: str, **fields: str) -> apps_pb.CreateApplicationRequest:
    given = application_pb2.Application(name=name, executable="true", **fields)
    return apps_pb.CreateApplicationRequest(application=given, request_id=new_id())


def new_id() -> str:
    return str(uuid.uuid4())


async def create(store: Store, *batches: list[job_pb2.Job], request_id: str = "") -> pb.CreateJobsResponse:
    """Adds jobs by a stream of messages."""

    async def messages() -> AsyncIterator[pb.CreateJobsRequest]:
        for batch in batches:
            yield pb.CreateJobsRequest(jobs=batch, request_id=request_id)

    return await JobService(store).CreateJobs(messages(), None)


async def together(store: Store, *calls: Coroutine[Any, Any, Any]) -> list[Any]:
    """The answers to calls that share a commit, if all goes well; and their errors."""
    held = Held()
    first = asyncio.ensure_future(store.writer.do(held))
    await asyncio.to_thread(held.reached.wait)
    waiting = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    held.go.set()
    await first
    return await asyncio.gather(*waiting, return_exceptions=True)


def break_after(store: Store, commands: int) -> None:
    """From then on the job store is away, for whoever asks for something to be written."""
    do = store.writer.do
    left = iter(range(commands))

    async def some(command: Any) -> Any:
        if next(left, None) is None:
            raise Unavailable("no database")
        return await do(command)

    store.writer.do = some  # type: ignore[method-assign]


# In one commit


def test_the_same_request_twice_in_one_commit_is_done_once(database: Database) -> None:
    async def main() -> None:
        async with started(database) as store:
            service, request = ApplicationService(store), new_app("a")
            answers = await together(store, *(service.CreateApplication(request, None) for _ in range(5)))
            assert [answer.name for answer in answers] == ["a"] * 5
            assert all(answer == answers[0] for answer in answers)

    asyncio.run(main())
    assert len(dump(database)["application"]) == len(dump(database)["request"]) == 1


def test_another_request_with_the_same_id_in_one_commit_is_refused(database: Database) -> None:
    async def main() -> None:
        async with started(database) as store:
            service, mine, other = ApplicationService(store), new_app("a"), new_app("b")
            other.request_id = mine.request_id
            one, two = await together(store, *(service.CreateApplication(request, None) for request in (mine, other)))
            assert one.name == "a"
            assert isinstance(two, ValidationError)
            assert two.field == "request_id"

    asyncio.run(main())
    assert [row[1] for row in dump(database)["application"]] == ["a"]


def test_a_request_that_comes_again_costs_those_in_its_commit_nothing(database: Database) -> None:
    async def main() -> None:
        again = new_app("a")
        async with started(database) as store:
            before = await ApplicationService(store).CreateApplication(again, None)
        async with started(database) as store:
            service = ApplicationService(store)
            requests = [new_app("b"), again, new_app("a"), new_app("c")]
            answers = await together(store, *(service.CreateApplication(request, None) for request in requests))
            assert [answers[0].name, answers[3].name] == ["b", "c"]
            assert answers[1] == before
            assert isinstance(answers[2], Conflict)

    asyncio.run(main())
    assert {row[1] for row in dump(database)["application"]} == {"a", "b", "c"}


def test_what_many_ask_costs_one_statement_more(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    asked: list[str] = []
    insert_new, run = Sql.insert_new, Sql.run

    def insert(sql: Sql, table: str, columns: Any, rows: Any) -> int:
        written.append(len(rows))
        return insert_new(sql, table, columns, rows)

    def ask(sql: Sql, text: str, **parameters: Any) -> Any:
        asked.append(text)
        return run(sql, text, **parameters)

    monkeypatch.setattr(Sql, "insert_new", insert)
    monkeypatch.setattr(Sql, "run", ask)

    async def main() -> None:
        async with started(database) as store:
            calls = [create(store, [job_pb2.Job(job_id=new_id())], request_id=new_id()) for _ in range(32)]
            assert [answer.created for answer in await together(store, *calls)] == [1] * 32

    asyncio.run(main())
    assert written == [32]
    assert not [text for text in asked if "FROM request" in text]


# In several commits


SELECTING: dict[str, Callable[[pb.JobSelector, str], Any]] = {
    "UpdateMatchingJobs": lambda selector, request_id: pb.UpdateMatchingJobsRequest(
        selector=selector, values=job_pb2.Job(priority=5), update_mask={"paths": ["priority"]}, request_id=request_id
    ),
    "SetJobState": lambda selector, request_id: pb.SetJobStateRequest(
        selector=selector, state=State.FAILED.value, request_id=request_id
    ),
    "DeleteJobs": lambda selector, request_id: pb.DeleteJobsRequest(selector=selector, request_id=request_id),
}


@pytest.mark.parametrize("by", ["ids", "filter"])
@pytest.mark.parametrize("method", SELECTING)
@pytest.mark.parametrize("done", [1, 2, 3])
def test_what_was_cut_off_in_the_middle_goes_on_where_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch, method: str, by: str, done: int
) -> None:
    monkeypatch.setattr("balsam_jobstore.server.selections.CHUNK", 2)
    ids = [new_id() for _ in range(5)]
    # Those that have moved, or are gone, do not match any more.
    new = query_pb2.Test(field="state", op=query_pb2.Test.EXACT, values=[query_pb2.Value(text="CREATED")])
    selector = pb.JobSelector(filter=query_pb2.Filter(test=new))
    if by == "ids":
        selector = pb.JobSelector(ids=pb.JobSelector.Ids(job_ids=[*ids, new_id()]))
    request = SELECTING[method](selector, new_id())

    async def main() -> None:
        async with started(database) as store:
            await create(store, [job_pb2.Job(job_id=job_id) for job_id in ids])
            break_after(store, done)
            with contextlib.suppress(Unavailable):
                await getattr(JobService(store), method)(request, None)
        contents = dump(database)
        async with started(database) as store:
            answer = await getattr(JobService(store), method)(request, None)
            assert (answer.deleted if method == "DeleteJobs" else answer.updated) == 5
            assert [refusal.index for refusal in answer.refusals] == ([5] if by == "ids" else [])
        assert (dump(database) == contents) is (done == 3)
        contents = dump(database)
        async with started(database) as store:
            assert await getattr(JobService(store), method)(request, None) == answer
        assert dump(database) == contents

    asyncio.run(main())
    assert len(dump(database)["request"]) == 3
    events = {"UpdateMatchingJobs": 5, "SetJobState": 10, "DeleteJobs": 5}[method]
    assert len(dump(database)["event"]) == events


@pytest.mark.parametrize("done", [1, 2, 3])
def test_what_was_refused_before_the_cut_stays_refused(database: Database, done: int) -> None:
    one, two, three = [new_id() for _ in range(3)]
    # The second makes a cycle, and would not without what the third takes away.
    request = pb.ChangeDependenciesRequest(
        add=[Dependency(parent_id=two, child_id=three), Dependency(parent_id=three, child_id=one)],
        remove=[Dependency(parent_id=one, child_id=two)],
        request_id=new_id(),
    )

    async def main() -> None:
        async with started(database) as store:
            await create(store, [job_pb2.Job(job_id=job_id) for job_id in (one, two, three)])
            edge = Dependency(parent_id=one, child_id=two)
            await JobService(store).ChangeDependencies(pb.ChangeDependenciesRequest(add=[edge]), None)
            break_after(store, done)
            with contextlib.suppress(Unavailable):
                await JobService(store).ChangeDependencies(request, None)
        for _ in range(2):
            async with started(database) as store:
                answer = await JobService(store).ChangeDependencies(request, None)
                assert (answer.added, answer.removed) == (1, 1)
                assert [(refusal.index, refusal.reason) for refusal in answer.refusals] == [(1, "CYCLE")]

    asyncio.run(main())
    assert len(dump(database)["edge"]) == 1


def test_an_id_that_was_used_for_another_list_does_nothing_of_this_one(database: Database) -> None:
    ids = [new_id() for _ in range(3)]

    def request(*job_ids: str) -> pb.UpdateJobsRequest:
        asked = pb.UpdateJobsRequest(request_id=ids[0])
        for job_id in job_ids:
            asked.updates.add(job=job_pb2.Job(job_id=job_id, priority=5), update_mask={"paths": ["priority"]})
        return asked

    async def main() -> None:
        async with started(database) as store:
            await create(store, [job_pb2.Job(job_id=job_id) for job_id in ids])
            await JobService(store).UpdateJobs(request(ids[0]), None)
        contents = dump(database)
        async with started(database) as store:
            with pytest.raises(ValidationError, match="was used for another UpdateJobs"):
                await JobService(store).UpdateJobs(request(*ids), None)
        assert dump(database) == contents

    asyncio.run(main())


def test_a_stream_that_was_cut_off_is_taken_up_again(database: Database) -> None:
    jobs = [[job_pb2.Job(job_id=new_id()) for _ in range(3)] for _ in range(3)]
    request_id = new_id()

    async def main() -> None:
        async with started(database) as store:
            break_after(store, 2)
            with pytest.raises(Unavailable):
                await create(store, *jobs, request_id=request_id)
        for _ in range(2):
            async with started(database) as store:
                answer = await create(store, *jobs, request_id=request_id)
                assert (answer.created, answer.existing, answer.sequence) == (9, 0, 9)

    asyncio.run(main())
    assert len(dump(database)["job"]) == 9


def test_a_session_is_taken_up_though_nobody_heard_that_it_was_opened(database: Database) -> None:
    request = session_service_pb2.OpenSessionRequest(session={"kind": 2, "job_mode": "auto"}, request_id=new_id())

    async def main() -> None:
        async with started(database) as store:
            opened = await SessionService(store).OpenSession(request, None)
            store.sessions.remove(
                store.sessions.get(opened.session.session_id)
            )  # as where the commit's end is not heard
            assert await SessionService(store).OpenSession(request, None) == opened
            store.sessions.renew(opened.session.session_id)

    asyncio.run(main())


# What is forgotten


def kept(database: Database) -> int:
    return len(dump(database)["request"])


async def ask(store: Store, count: int) -> None:
    for _ in range(count):
        await ApplicationService(store).CreateApplication(new_app(new_id()), None)


def test_answers_are_dropped_when_they_are_old(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with started(database) as store:
            await ask(store, 5)
            await store.requests.drop_old()
            assert kept(database) == 5
            monkeypatch.setattr("balsam_jobstore.requests.KEEP_SECONDS", 0.0)
            monkeypatch.setattr("balsam_jobstore.requests._MOST_DROPPED", 2)
            await store.requests.drop_old()
            assert kept(database) == 1  # whose number must not be given again
            await ask(store, 1)
            assert kept(database) == 2

    asyncio.run(main())


def test_a_restart_makes_no_answer_old(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        for _ in range(3):
            async with started(database) as store:
                await ask(store, 1)
                await store.requests.drop_old()
        assert kept(database) == 3

    asyncio.run(main())


def test_of_too_many_answers_the_oldest_are_dropped(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("balsam_jobstore.requests.MOST_KEPT", 2)

    async def main() -> None:
        async with started(database) as store:
            await ask(store, 5)
            newest = max(row[0] for row in dump(database)["request"])
            await store.requests.drop_old()
            assert [row[0] for row in dump(database)["request"]] == [newest - 1, newest]

    asyncio.run(main())


def test_answers_are_dropped_though_the_database_was_away_for_a_while(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("balsam_jobstore.requests.KEEP_SECONDS", 0.0)
    monkeypatch.setattr("balsam_jobstore.requests.MARK_SECONDS", 0.0)

    async def main() -> None:
        async with started(database) as store:
            await ask(store, 3)
            do = store.writer.do
            break_after(store, 0)
            with pytest.raises(Unavailable):
                await store.requests.drop_old()
            store.writer.do = do  # type: ignore[method-assign]
            await store.requests.drop_old()
            assert kept(database) == 1

    asyncio.run(main())


def test_a_job_store_that_is_asked_nothing_asks_the_database_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("balsam_jobstore.requests.MARK_SECONDS", 0.0)

    async def main() -> None:
        async with started(database) as store:
            await ask(store, 3)
            await store.requests.drop_old()
            break_after(store, 0)
            for _ in range(10):
                await store.requests.drop_old()

    asyncio.run(main())
