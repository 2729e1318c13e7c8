"""Where a job's parents have their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from google.protobuf.field_mask_pb2 import FieldMask

from balsam import rpc
from balsam.errors import Unavailable
from balsam.v1 import job_service_pb2, query_pb2
from balsam.v1.job_service_pb2_grpc import JobServiceStub
from balsam_scheduler.limits import Limit
from balsam_scheduler.linking import Parent

FindParents = Callable[[Sequence[str], Limit], list[Parent]]
"""(ids, limit): the parents that there are, in the order of their ids."""

_IDS_AT_ONCE = 1000
_RETRY_SECONDS = 0.2


class ParentFinder:
    """Asks the job store; while that is away, it waits. May be used by many threads at once.

    Args:
        connection: a connection that does not try again by itself.
    """

    def __init__(self, connection: rpc.Connection) -> None:
        self._connection = connection

    def __call__(self, ids: Sequence[str], limit: Limit) -> list[Parent]:
        """The parents that there are, in the order of their ids.

        Raises:
            Stopped: the step was stopped.
            TimedOut: the job store is away longer than a step may take.
            BalsamError: what the job store says.
        """
        found: dict[str, str] = {}
        for first in range(0, len(ids), _IDS_AT_ONCE):
            found.update(self._ask(ids[first : first + _IDS_AT_ONCE], limit))
        return [Parent(job_id, Path(found[job_id])) for job_id in ids if found.get(job_id)]

    def _ask(self, ids: Sequence[str], limit: Limit) -> dict[str, str]:
        test = query_pb2.Test(
            field="job_id", op=query_pb2.Test.IN, values=[query_pb2.Value(text=job_id) for job_id in ids]
        )
        request = job_service_pb2.ListJobsRequest(
            filter=query_pb2.Filter(test=test),
            page_size=_IDS_AT_ONCE,
            read_mask=FieldMask(paths=["working_directory"]),
        )
        while True:
            limit.check()
            try:
                answer = self._connection.call(JobServiceStub, "ListJobs", request, timeout=10.0)
            except Unavailable:
                limit.pause(_RETRY_SECONDS)
                continue
            return {job.job_id: job.working_directory for job in answer.jobs}
