"""Memory is bounded, whatever is asked for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator

import pytest

from balsam.errors import ResourceExhausted, ValidationError
from balsam.serving import CALLER, Caller
from balsam.v1 import job_pb2
from balsam.v1.job_service_pb2 import CreateJobsRequest
from balsam_jobstore import reading
from balsam_jobstore.access import MEMBER, OWNER
from balsam_jobstore.server import held_bytes
from balsam_jobstore.server import jobs as server
from tests.support.store import Bench, job


def test_a_count_by_a_field_with_too_many_values_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_GROUPS", 3)
    for name in "abca":
        bench.add(name)
    with bench.database.reader() as connection:
        count, groups = reading.count_jobs(connection, bench.database.is_sqlite, None, ["name"])
        assert (count, groups) == (4, [("a", 2), ("b", 1), ("c", 1)])
    bench.add("d")
    with bench.database.reader() as connection, pytest.raises(ValidationError, match="name: there are more than 3 gr"):
        reading.count_jobs(connection, bench.database.is_sqlite, None, ["name"])


def test_a_count_by_a_field_with_long_values_is_refused(bench: Bench) -> None:
    for letter in "abcdefghijkl":
        bench.create(*[job(args=f"{letter}{i}" + "x" * 120_000) for i in range(10)])
    with bench.database.reader() as connection, pytest.raises(ValidationError, match="longer than one answer can hold"):
        reading.count_jobs(connection, bench.database.is_sqlite, None, ["args"])


def test_few_large_calls_hold_their_jobs_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LARGE_CALL", 2)
    monkeypatch.setattr(server, "_LARGE_CALLS", 1)

    async def messages(jobs: int, go_on: asyncio.Event) -> AsyncIterator[CreateJobsRequest]:
        for _ in range(jobs):
            yield CreateJobsRequest(jobs=[job_pb2.Job(job_id=str(uuid.uuid4()))], atomic=True)
        await go_on.wait()

    async def calls() -> list[int]:
        CALLER.set(Caller(user="me", role=OWNER))
        service = server.JobService(bench.store)
        done: list[int] = []

        async def call(jobs: int, go_on: asyncio.Event) -> None:
            done.append((await service.CreateJobs(messages(jobs, go_on), None)).created)

        slow, at_once = asyncio.Event(), asyncio.Event()
        at_once.set()
        tasks = [asyncio.create_task(call(*arguments)) for arguments in ((3, slow), (4, at_once), (2, at_once))]
        await tasks[2]  # a small one waits for nobody
        for _ in range(20):
            await asyncio.sleep(0)
        assert done == [2]  # the second large one waits for the first
        slow.set()
        await asyncio.gather(*tasks)
        return done

    assert bench.run(calls()) == [2, 3, 4]


def all_or_nothing(*sizes: int) -> Iterator[CreateJobsRequest]:
    """Messages of a call, each with a job of about so many bytes."""
    for size in sizes:
        yield CreateJobsRequest(jobs=[job_pb2.Job(job_id=str(uuid.uuid4()), args="x" * size)], atomic=True)


async def slowly(messages: Iterable[CreateJobsRequest], go_on: asyncio.Event) -> AsyncIterator[CreateJobsRequest]:
    for message in messages:
        yield message
    await go_on.wait()


def test_calls_hold_so_many_bytes_and_no_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_bytes, "MOST_OF_OWNER", 3000)
    monkeypatch.setattr(held_bytes, "MOST", 5000)
    service = server.JobService(bench.store)

    async def call(user: str, go_on: asyncio.Event, *sizes: int) -> int:
        CALLER.set(Caller(user=user, role=OWNER))
        return (await service.CreateJobs(slowly(all_or_nothing(*sizes), go_on), None)).created

    async def calls() -> None:
        slow, at_once = asyncio.Event(), asyncio.Event()
        at_once.set()
        with pytest.raises(ResourceExhausted, match="in one all-or-nothing call; give a batch_size"):
            await call("ann", at_once, 1000, 1000, 1000)
        held = [asyncio.create_task(call(user, slow, 1000, 1000)) for user in ("ann", "bob")]
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted, match=r"for ann .*try again shortly"):
            await call("ann", at_once, 1000)
        with pytest.raises(ResourceExhausted, match=r"for zoe .*try again shortly"):
            await call("zoe", at_once, 1000)
        slow.set()
        assert await asyncio.gather(*held) == [2, 2]
        assert await call("ann", at_once, 1000, 1000) == 2

    bench.run(calls())


@pytest.mark.parametrize(("role", "most"), [(OWNER, held_bytes.MOST_OF_OWNER), (MEMBER, held_bytes.MOST_OF_ONE)])
def test_the_owner_may_hold_more_than_others(role: str, most: int) -> None:
    before = CALLER.set(Caller(user="ada", role=role))
    held = held_bytes.HeldBytes().call()
    CALLER.reset(before)
    with held:
        held.add(most)
        with pytest.raises(ResourceExhausted, match="give a batch_size"):
            held.add(1)


def test_what_a_call_holds_is_not_kept_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_bytes, "PATIENCE_SECONDS", 0.01)

    async def call() -> None:
        CALLER.set(Caller(user="me", role=OWNER))
        service = server.JobService(bench.store)
        with pytest.raises(ResourceExhausted, match=r"came for 0.01 s: nothing was added"):
            await service.CreateJobs(slowly(all_or_nothing(10), asyncio.Event()), None)

    bench.run(call())
    assert bench.counts() == {}
