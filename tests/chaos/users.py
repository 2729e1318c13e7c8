"""``python -m tests.chaos.users DIRECTORY``: adds the jobs of a campaign, kills and resets some, and tries again.

What is acknowledged is written to ``acks.jsonl``. One that was killed does again what it has no acknowledgement of.
"""

from __future__ import annotations

import heapq
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from balsam.client import Client
from balsam.errors import Unavailable
from balsam.site import open_site
from balsam.v1 import job_service_pb2
from balsam.v1.job_service_pb2_grpc import JobServiceStub
from tests.chaos.plan import APPLICATIONS, BOTH, HANDLED, PACKING, POST, PRE, JobPlan, load_plan
from tests.chaos.records import cut_to_whole_lines, read_lines

T = TypeVar("T")

BACKLOG = 900
"""More jobs are added while fewer than so many have not ended."""

_BATCH = 50
_SCRIPT_SECONDS = 0.3
_PAUSE_SECONDS = 0.2
_MOVES = {"restart": "RESTART_READY", "anew": "CREATED"}
_ENDS = ("JOB_FINISHED", "FAILED", "USER_KILLED")


class Users:
    """All users of a campaign, one after the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._client = Client(open_site(directory / "site"))
        cut_to_whole_lines(directory / "acks.jsonl")
        self._acks = (directory / "acks.jsonl").open("a")
        self._due: list[tuple[float, int]] = []

    def run(self) -> None:
        """Does all that is in the plan."""
        jobs = load_plan(self._directory / "plan.json").jobs
        added, acted = self._acknowledged()
        self._until_done(self._add_applications)
        waiting = list(batches([job for job in jobs if job.job_id not in added]))[::-1]
        for number, job in enumerate(jobs):
            if job.action and job.job_id in added and job.job_id not in acted:
                heapq.heappush(self._due, (time.monotonic() + job.delay, number))
        numbers = {job.job_id: number for number, job in enumerate(jobs)}
        while waiting or self._due:
            if waiting and self._until_done(self._not_ended) < BACKLOG:
                batch = waiting.pop()
                self._add(batch)
                self._acknowledge(added=[job.job_id for job in batch])
                for job in batch:
                    if job.action:
                        heapq.heappush(self._due, (time.monotonic() + job.delay, numbers[job.job_id]))
            else:
                time.sleep(_PAUSE_SECONDS)
            while self._due and self._due[0][0] <= time.monotonic():
                self._act(jobs[heapq.heappop(self._due)[1]])

    def _acknowledged(self) -> tuple[set[str], set[str]]:
        added: set[str] = set()
        acted: set[str] = set()
        for line in read_lines(self._directory / "acks.jsonl"):
            added.update(line.get("added", ()))
            if "job_id" in line and line["acknowledged"]:
                acted.add(line["job_id"])
        return added, acted

    def _acknowledge(self, **what: Any) -> None:
        self._acks.write(json.dumps(what) + "\n")
        self._acks.flush()

    def _until_done(self, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except Unavailable:
                time.sleep(_PAUSE_SECONDS)

    def _add_applications(self) -> None:
        for name in APPLICATIONS:
            values = application(name, self._directory)
            self._client.ApplicationDefinition.objects.get_or_create(values, name=name)

    def _add(self, batch: list[JobPlan]) -> None:
        self._until_done(lambda: self._client.jobs.create([fields(job) for job in batch]))

    def _not_ended(self) -> int:
        return self._client.BalsamJob.objects.exclude(state__in=_ENDS).count()

    def _act(self, job: JobPlan) -> None:
        # Before it is tried: what was done without an answer counts as well.
        self._acknowledge(job_id=job.job_id, action=job.action, acknowledged=False)
        killed = False
        if job.action == "kill":
            killed = self._until_done(lambda: self._kill(job))
        else:
            self._until_done(lambda: self._client.jobs.set_state([job.job_id], _MOVES[job.action]))
        self._acknowledge(job_id=job.job_id, action=job.action, acknowledged=True, killed=killed)

    def _kill(self, job: JobPlan) -> bool:
        ids = job_service_pb2.JobSelector.Ids(job_ids=[job.job_id])
        request = job_service_pb2.KillJobsRequest(selector=job_service_pb2.JobSelector(ids=ids), message="by a user")
        return bool(self._client.call(JobServiceStub, "KillJobs", request).killed)


def batches(jobs: list[JobPlan]) -> Iterator[list[JobPlan]]:
    """Jobs as they are added together: children may come later than their parents, never before."""
    for start in range(0, len(jobs), _BATCH):
        yield jobs[start : start + _BATCH]


def fields(job: JobPlan) -> dict[str, Any]:
    """A job as the client takes it."""
    return {
        "job_id": job.job_id,
        "name": job.name,
        "workflow": f"w{job.job_id[0]}",
        "application": job.application,
        "args": f"{job.seconds} {job.code} {job.failures} {int(job.detached)}",
        "parents": job.parents,
        "node_packing_count": PACKING,
        "max_restarts": job.max_restarts,
        "post_error_handler": job.application == HANDLED,
    }


def application(name: str, directory: Path) -> dict[str, Any]:
    """An application of the campaign in a directory."""
    witness = f"/bin/sh {directory}/witness.sh"
    script = f"{witness} %s {_SCRIPT_SECONDS}"
    post = script % "post" if name in (POST, BOTH) else ""
    if name == HANDLED:
        post = f"{witness} handle 0 0 0 0 {sys.executable}"
    return {
        "executable": f"{witness} run",
        "preprocess": script % "pre" if name in (PRE, BOTH) else "",
        "postprocess": post,
    }


if __name__ == "__main__":
    Users(Path(sys.argv[1])).run()
