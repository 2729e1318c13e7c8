from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from balsam.errors import Unavailable
from balsam.v1.job_pb2 import Job
from balsam.v1.job_service_pb2 import ListJobsRequest, ListJobsResponse
from balsam_scheduler.limits import Limit, Stopped
from balsam_scheduler.linking import Parent
from balsam_scheduler.parents import ParentFinder


class JobStore:
    """A connection to a job store that knows some jobs, and is away for the first calls."""

    def __init__(self, known: dict[str, str], away: int = 0) -> None:
        self.known = known
        self.away = away
        self.calls = 0

    def call(self, make: Any, method: str, request: ListJobsRequest, timeout: float) -> ListJobsResponse:
        assert method == "ListJobs"
        self.calls += 1
        if self.calls <= self.away:
            raise Unavailable("not here")
        ids = [value.text for value in request.filter.test.values]
        assert len(ids) <= request.page_size
        found = [Job(job_id=i, working_directory=self.known[i]) for i in sorted(ids) if i in self.known]
        return ListJobsResponse(jobs=found)


def find(store: JobStore, ids: list[str], limit: Limit) -> list[Parent]:
    return ParentFinder(store)(ids, limit)  # type: ignore[arg-type]


@pytest.fixture
def limit() -> Limit:
    limit = Limit(10)
    limit.begin()
    return limit


def test_parents_come_in_their_order_and_without_those_that_are_gone(limit: Limit) -> None:
    store = JobStore({"b": "/data/b", "a": "/data/a"})
    assert find(store, ["b", "gone", "a"], limit) == [Parent("b", Path("/data/b")), Parent("a", Path("/data/a"))]
    limit.close()


def test_any_number_of_parents_is_asked_for_in_parts(limit: Limit) -> None:
    ids = [str(uuid.uuid4()) for _ in range(2500)]
    store = JobStore({job_id: f"/data/{job_id}" for job_id in ids})
    assert [parent.job_id for parent in find(store, ids, limit)] == ids
    assert store.calls == 3
    limit.close()


def test_a_job_store_that_is_away_is_waited_for(limit: Limit) -> None:
    store = JobStore({"a": "/data/a"}, away=2)
    assert find(store, ["a"], limit) == [Parent("a", Path("/data/a"))]
    assert store.calls == 3
    limit.close()


def test_a_stop_ends_the_wait(limit: Limit) -> None:
    limit.stop()
    with pytest.raises(Stopped):
        find(JobStore({}, away=10**6), ["a"], limit)
    limit.close()
