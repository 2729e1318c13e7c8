"""Calls about jobs: plain values in, plain values out, and refusals as exceptions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.field_mask_pb2 import FieldMask

from balsam.convert import job_message, job_message_fields, job_values, state_number
from balsam.errors import ValidationError
from balsam.rpc import DEADLINE_SECONDS, error_for
from balsam.v1 import job_pb2, job_service_pb2
from balsam.v1.job_service_pb2_grpc import JobServiceStub

if TYPE_CHECKING:
    import grpc

    from balsam.client import Client
    from balsam.query import Key, Node
    from balsam.v1 import query_pb2

    Selection = Node | Sequence[str]
    """Jobs by a condition, or by their ids."""

JOBS_IN_MESSAGE = 1000
BYTES_IN_MESSAGE = 1 << 20
BULK_SECONDS = 600.0
"""Deadline of a call that changes every job that matches."""
SECONDS_PER_JOB = 0.002
"""What a deadline allows for each job of a stream, beside the usual."""


class Outcome(NamedTuple):
    """What became of a bulk call: how many jobs were changed, and how many were refused with what first reason."""

    done: int
    refused: int = 0
    first: job_service_pb2.Refusal | None = None

    def check(self, what: str) -> int:
        """How many were changed.

        Raises:
            BalsamError: some were refused; the message names the first and says what became of the others.
        """
        if self.first is None:
            return self.done
        message = self.first.message
        if self.refused + self.done > 1:
            message += f" ({self.done} {what}, {self.refused} refused)"
        raise error_for(self.first.reason, message, self.first.field)


def _outcome(done: int, refusals: Sequence[job_service_pb2.Refusal], refused: int = 0) -> Outcome:
    return Outcome(done, max(refused, len(refusals)), refusals[0] if refusals else None)


class _OneMessage:
    """Streams of one message as plain calls: on the line they are the same, and here they take no thread."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.CreateJobs = channel.unary_unary(
            "/balsam.v1.JobService/CreateJobs",
            request_serializer=job_service_pb2.CreateJobsRequest.SerializeToString,
            response_deserializer=job_service_pb2.CreateJobsResponse.FromString,
        )


class JobCalls:
    """The job store's service for jobs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def _call(self, method: str, request: Any, timeout: float | None = None) -> Any:
        return self._client.call(JobServiceStub, method, request, timeout)

    def create(self, jobs: Sequence[Mapping[str, Any]]) -> int:
        """Adds all of these jobs or none; returns the sequence of the last event.

        Raises:
            BalsamError: the first of the refusals.
        """
        timeout = DEADLINE_SECONDS + SECONDS_PER_JOB * len(jobs)
        if len(jobs) == 1:
            (request,) = create_requests(jobs)
            answer = self._client.call(_OneMessage, "CreateJobs", request, timeout)
        else:
            answer = self._call("CreateJobs", lambda: create_requests(jobs), timeout)
        if answer.refusals:
            first = answer.refusals[0]
            message = first.message
            if len(jobs) > 1:
                message = f"job {first.index} of {len(jobs)}: {message} (no job was added)"
            raise error_for(first.reason, message, first.field)
        return int(answer.sequence)

    def get(self, job_id: str) -> dict[str, Any]:
        """One job, with its parents. Raises NotFound."""
        return job_values(self._call("GetJob", job_service_pb2.GetJobRequest(job_id=job_id)))

    def pages(
        self, where: Node, order: Sequence[Key] = (), page_size: int = 0, fields: Iterable[str] | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """The jobs that match, page by page; without `fields`: all of them but `parents`."""
        from balsam.filters import order_messages

        request = job_service_pb2.ListJobsRequest(
            filter=filter_message(where),
            order_by=order_messages(order),
            page_size=page_size,
            read_mask=None if fields is None else FieldMask(paths=fields),
        )
        while True:
            try:
                answer = self._call("ListJobs", request)
            except ValidationError as error:
                if not _asks_without(request, error):
                    raise
                continue
            yield [job_values(job) for job in answer.jobs]
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def count(self, where: Node) -> int:
        """How many jobs match."""
        return int(self._call("CountJobs", job_service_pb2.CountJobsRequest(filter=filter_message(where))).count)

    def groups(self, where: Node, fields: Sequence[str]) -> list[tuple[tuple[Any, ...], int]]:
        """How many jobs match, by the values of some fields."""
        from balsam.filters import value_of

        request = job_service_pb2.CountJobsRequest(filter=filter_message(where), group_by=fields)
        answer = self._call("CountJobs", request)
        return [(tuple(value_of(v) for v in group.values), group.count) for group in answer.groups]

    def update(self, job_id: str, values: Mapping[str, Any], expected_revision: int = 0, message: str = "") -> int:
        """Changes fields of one job; returns its revision.

        Raises:
            BalsamError: it was refused; Conflict if the revision is not the expected one (0: any is).
        """
        update = job_service_pb2.JobUpdate(
            job=job_message({**values, "job_id": job_id}),
            update_mask=FieldMask(paths=values),
            expected_revision=expected_revision,
            message=message,
        )
        answer = self._call("UpdateJobs", job_service_pb2.UpdateJobsRequest(updates=[update]))
        _outcome(answer.updated, answer.refusals).check("changed")
        return answer.revisions[0] if answer.revisions else 0

    def update_matching(self, selection: Selection, values: Mapping[str, Any]) -> Outcome:
        """Sets the same fields of every selected job."""
        request = job_service_pb2.UpdateMatchingJobsRequest(
            selector=selector_message(selection), values=job_message(values), update_mask=FieldMask(paths=values)
        )
        answer = self._call("UpdateMatchingJobs", request, BULK_SECONDS)
        return _outcome(answer.updated, answer.refusals, answer.refused)

    def set_state(self, selection: Selection, state: str, message: str = "") -> Outcome:
        """Moves every selected job to a state."""
        request = job_service_pb2.SetJobStateRequest(
            selector=selector_message(selection), state=_state(state), message=message
        )
        answer = self._call("SetJobState", request, BULK_SECONDS)
        return _outcome(answer.updated, answer.refusals, answer.refused)

    def kill(self, selection: Selection, recursive: bool = False, message: str = "") -> Outcome:
        """Kills the selected jobs, and all that depend on them if `recursive`; ended ones are left as they are."""
        request = job_service_pb2.KillJobsRequest(
            selector=selector_message(selection), recursive=recursive, message=message
        )
        answer = self._call("KillJobs", request, BULK_SECONDS)
        return _outcome(answer.killed, answer.refusals)

    def delete(self, selection: Selection, kill: bool = False) -> Outcome:
        """Deletes the selected jobs; running ones only with `kill`."""
        request = job_service_pb2.DeleteJobsRequest(selector=selector_message(selection), kill=kill)
        answer = self._call("DeleteJobs", request, BULK_SECONDS)
        return _outcome(answer.deleted, answer.refusals, answer.refused)

    def add_dependency(self, parent_id: str, child_id: str) -> None:
        """Makes one job wait for another. Raises the refusal."""
        edge = job_service_pb2.Dependency(parent_id=parent_id, child_id=child_id)
        answer = self._call("ChangeDependencies", job_service_pb2.ChangeDependenciesRequest(add=[edge]))
        _outcome(answer.added, answer.refusals).check("added")


def _state(state: str) -> job_pb2.Job.State.ValueType:
    return job_pb2.Job.State.ValueType(state_number(state))


def _asks_without(request: job_service_pb2.ListJobsRequest, error: ValidationError) -> bool:
    """Takes a field out of a request that a job store of an earlier version does not know; False: that is not it."""
    from balsam.fields import JOB_FIELDS

    names = [name for name in request.read_mask.paths if name != error.field]
    if error.reason != "UNKNOWN_FIELD" or error.field not in JOB_FIELDS or len(names) == len(request.read_mask.paths):
        return False
    request.read_mask.paths[:] = names
    return True


def filter_message(where: Node) -> query_pb2.Filter:
    """The message of a condition. Who only adds jobs has none, and does not load what they are made of."""
    from balsam import filters

    return filters.filter_message(where)


def selector_message(selection: Selection) -> job_service_pb2.JobSelector:
    """The message of a selection."""
    if isinstance(selection, Sequence):
        return job_service_pb2.JobSelector(ids=job_service_pb2.JobSelector.Ids(job_ids=selection))
    return job_service_pb2.JobSelector(filter=filter_message(selection))


def create_requests(jobs: Iterable[Mapping[str, Any]]) -> Iterator[job_service_pb2.CreateJobsRequest]:
    """The messages that add jobs, all or none, each of moderate size; at least one."""
    request, size = job_service_pb2.CreateJobsRequest(atomic=True), 0
    for values in jobs:
        if size >= BYTES_IN_MESSAGE or len(request.jobs) >= JOBS_IN_MESSAGE:
            yield request
            request, size = job_service_pb2.CreateJobsRequest(atomic=True), 0
        size += request.jobs.add(**job_message_fields(values)).ByteSize()
    yield request
