"""Memory is bounded, whatever is asked for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from balsam.errors import ValidationError
from balsam.serving import CALLER, Caller
from balsam.v1 import job_pb2
from balsam.v1.job_service_pb2 import CreateJobsRequest
from balsam_jobstore import reading
from balsam_jobstore.access import OWNER
from balsam_jobstore.server import jobs as server
from tests.support.store import Bench


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
