"""The scheduler's gRPC service: translates messages, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable

from balsam.v1 import scheduler_service_pb2, scheduler_service_pb2_grpc
from balsam.version import VERSION
from balsam_scheduler.dispatch import Dispatcher


class SchedulerServicer(scheduler_service_pb2_grpc.SchedulerServiceServicer):
    """Answers what the scheduler does now.

    Args:
        dispatcher: what it holds.
        session: gives the id of its session, and how many rules are in force.
    """

    def __init__(self, dispatcher: Dispatcher, session: Callable[[], tuple[str, int]]) -> None:
        self._dispatcher = dispatcher
        self._session = session

    async def GetSchedulerStatus(
        self, request: scheduler_service_pb2.GetSchedulerStatusRequest, context: object
    ) -> scheduler_service_pb2.GetSchedulerStatusResponse:
        """The scheduler's state."""
        session_id, rules = self._session()
        return scheduler_service_pb2.GetSchedulerStatusResponse(
            pid=os.getpid(),
            version=VERSION,
            session_id=session_id,
            running=self._dispatcher.running,
            workers=self._dispatcher.workers,
            done=self._dispatcher.done,
            rules=rules,
        )
