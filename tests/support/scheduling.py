"""Jobs for tests of the scheduler: added, moved by hand where a launcher would move them, and asked for."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from balsam.rpc import Connection
from balsam.site import Site
from balsam.states import State
from balsam.v1 import (
    application_pb2,
    application_service_pb2,
    event_service_pb2,
    job_pb2,
    job_service_pb2,
    launch_pb2,
    launch_service_pb2,
)
from balsam.v1.application_service_pb2_grpc import ApplicationServiceStub
from balsam.v1.event_service_pb2_grpc import EventServiceStub
from balsam.v1.job_service_pb2_grpc import JobServiceStub
from balsam.v1.launch_service_pb2_grpc import LaunchServiceStub
from tests.support.sites import wait_until


class Jobs:
    """The jobs of a site, as a user with the owner's credential sees them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._connection = Connection(site)

    def close(self) -> None:
        """Closes the line to the job store."""
        self._connection.close()

    def add_app(self, name: str, **fields: Any) -> str:
        """Registers an application; gives its name."""
        application = application_pb2.Application(name=name, **{"executable": "true"} | fields)
        request = application_service_pb2.CreateApplicationRequest(application=application)
        self._connection.call(ApplicationServiceStub, "CreateApplication", request)
        return name

    def add_launch(self, **fields: Any) -> int:
        """Records a launch; gives its id."""
        request = launch_service_pb2.CreateLaunchRequest(
            launch=launch_pb2.Launch(**fields), request_id=str(uuid.uuid4())
        )
        return int(self._connection.call(LaunchServiceStub, "CreateLaunch", request).launch_id)

    def get_launch(self, launch_id: int) -> launch_pb2.Launch:
        """A launch as it is now."""
        request = launch_service_pb2.GetLaunchRequest(launch_id=launch_id)
        launch: launch_pb2.Launch = self._connection.call(LaunchServiceStub, "GetLaunch", request)
        return launch

    def add(self, name: str, *, parents: Iterable[str] = (), **fields: Any) -> str:
        """Adds a job; gives its id."""
        job_id = str(uuid.uuid4())
        job = job_pb2.Job(job_id=job_id, name=name, workflow="test", parents=parents, **fields)
        request = job_service_pb2.CreateJobsRequest(jobs=[job])
        answer = self._connection.call(JobServiceStub, "CreateJobs", lambda: iter([request]))
        assert not answer.refusals, answer.refusals
        return job_id

    def get(self, job_id: str) -> job_pb2.Job:
        """A job as it is now."""
        job: job_pb2.Job = self._connection.call(JobServiceStub, "GetJob", job_service_pb2.GetJobRequest(job_id=job_id))
        return job

    def set_state(self, job_id: str, state: State) -> None:
        """Moves a job by hand."""
        request = job_service_pb2.SetJobStateRequest(selector=_one(job_id), state=job_pb2.Job.State.ValueType(state))
        answer = self._connection.call(JobServiceStub, "SetJobState", request)
        assert answer.updated == 1, answer

    def kill(self, job_id: str) -> None:
        """Kills a job."""
        answer = self._connection.call(
            JobServiceStub, "KillJobs", job_service_pb2.KillJobsRequest(selector=_one(job_id))
        )
        assert answer.killed == 1, answer

    def wait(self, job_id: str, *states: State, timeout: float = 30.0) -> job_pb2.Job:
        """Waits until a job is in one of these states, and gives it."""

        def there() -> job_pb2.Job | None:
            job = self.get(job_id)
            return job if State(job.state) in states else None

        job = wait_until(there, timeout, f"{job_id[:8]} in {[s.name for s in states]}", site=self.site)
        assert job is not None
        return job

    def history(self, job_id: str) -> list[str]:
        """Names of the states that a job has been in, in order."""
        request = event_service_pb2.ListEventsRequest(filter=event_service_pb2.EventFilter(job_ids=[job_id]))
        events = self._connection.call(EventServiceStub, "ListEvents", request).events
        return [State(state).name for event in events for state in event.states]


def _one(job_id: str) -> job_service_pb2.JobSelector:
    return job_service_pb2.JobSelector(ids=job_service_pb2.JobSelector.Ids(job_ids=[job_id]))
