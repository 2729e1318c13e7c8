"""EventService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from balsam.errors import ValidationError
from balsam.fields import check_id
from balsam.v1 import event_service_pb2
from balsam.v1.event_service_pb2_grpc import EventServiceServicer
from balsam_jobstore import reading
from balsam_jobstore.events import EventFilter, read_events
from balsam_jobstore.server import convert
from balsam_jobstore.store import Store

pb = event_service_pb2

MAX_JOB_IDS = 100_000
_BATCH = 2000


class EventService(EventServiceServicer):
    """Translates; the stream is in `events`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ListEvents(self, request: pb.ListEventsRequest, context: Any) -> pb.ListEventsResponse:
        """A page of the history."""
        wanted = _filter(request.filter)
        size = reading.page_size(request.page_size)
        after = request.after_sequence
        found = await self._store.read(lambda connection: read_events(connection, wanted, after, size + 1))
        events = [convert.event_message(event) for event in found[:size]]
        return pb.ListEventsResponse(events=events, more=len(found) > size)

    async def WatchEvents(self, request: pb.WatchEventsRequest, context: Any) -> AsyncIterator[pb.WatchEventsResponse]:
        """Events as they are committed."""
        wanted = _filter(request.filter)
        hub = self._store.hub
        position = request.after_sequence if request.HasField("after_sequence") else hub.sequence
        if position < 0:
            raise ValidationError(f"after_sequence = {position}: must be 0 or more", field="after_sequence")
        position = min(position, hub.sequence)
        yield pb.WatchEventsResponse(sequence=position)
        while True:
            fresh = hub.after(position)
            if fresh is None:
                upto = hub.sequence
                start = position
                found = await self._store.read(
                    lambda connection, start=start: read_events(connection, wanted, start, _BATCH)  # type: ignore[misc]
                )
                position = found[-1].sequence if len(found) == _BATCH else max(upto, position)
                events = [event for event in found if event.sequence <= position]
            else:
                events = [event for event in fresh if wanted.matches(event)]
                position = fresh[-1].sequence if fresh else position
            for begin in range(0, len(events), _BATCH):
                part = events[begin : begin + _BATCH]
                last = begin + _BATCH >= len(events)
                yield pb.WatchEventsResponse(
                    events=[convert.event_message(event) for event in part],
                    sequence=position if last else part[-1].sequence,
                )
            await hub.wait_beyond(position)


def _filter(message: pb.EventFilter) -> EventFilter:
    if len(message.job_ids) > MAX_JOB_IDS:
        raise ValidationError(f"job_ids has more than {MAX_JOB_IDS} ids; watch by workflow instead", field="job_ids")
    return EventFilter(
        frozenset(check_id(job_id, "job_ids") for job_id in message.job_ids),
        convert.plain_text(message.workflow, "workflow") if message.HasField("workflow") else None,
        frozenset(int(convert.state(state)) for state in message.states),
    )
