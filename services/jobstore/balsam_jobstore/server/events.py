"""EventService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from balsam.errors import ValidationError
from balsam.fields import check_id
from balsam.v1 import event_service_pb2
from balsam.v1.event_service_pb2_grpc import EventServiceServicer
from balsam_jobstore import reading
from balsam_jobstore.events import EventFilter, read_events
from balsam_jobstore.history import EventRecord
from balsam_jobstore.server import convert
from balsam_jobstore.store import Store

pb = event_service_pb2

MAX_JOB_IDS = 100_000
_BATCH = 2000
_SHARED = 500


class EventService(EventServiceServicer):
    """Translates; the stream is in `events`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._made: dict[tuple[EventFilter, int], list[pb.WatchEventsResponse]] = {}
        """(filter, position) -> what is told from there on; up to `_made_at`."""
        self._made_at = 0

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
            upto = hub.sequence
            messages = self._fresh(wanted, position)
            if messages is None:
                start = position
                found = await self._store.read(
                    lambda connection, start=start: read_events(connection, wanted, start, _BATCH)  # type: ignore[misc]
                )
                position = found[-1].sequence if len(found) == _BATCH else max(upto, position)
                messages = _messages([event for event in found if event.sequence <= position], position)
            else:
                position = max(upto, position)
            for message in messages:
                yield message
            await hub.wait_beyond(position)

    def _fresh(self, wanted: EventFilter, position: int) -> list[pb.WatchEventsResponse] | None:
        """What the ring holds after a position, made once for all who want the same; None: it is not there any more."""
        hub = self._store.hub
        if self._made_at != hub.sequence:
            self._made_at = hub.sequence
            self._made.clear()
        made = self._made.get((wanted, position))
        if made is not None:
            return made
        fresh = hub.after(position)
        if fresh is None:
            return None
        made = _messages([event for event in fresh if wanted.matches(event)], hub.sequence)
        if len(fresh) <= _SHARED:  # one that lags far behind is alone with that
            self._made[wanted, position] = made
        return made


def _messages(events: Sequence[EventRecord], position: int) -> list[pb.WatchEventsResponse]:
    """Events as messages of moderate size; who has got all of them is at `position`."""
    parts = [events[begin : begin + _BATCH] for begin in range(0, len(events), _BATCH)]
    return [
        pb.WatchEventsResponse(
            events=[convert.event_message(event) for event in part],
            sequence=position if part is parts[-1] else part[-1].sequence,
        )
        for part in parts
    ]


def _filter(message: pb.EventFilter) -> EventFilter:
    if len(message.job_ids) > MAX_JOB_IDS:
        raise ValidationError(f"job_ids has more than {MAX_JOB_IDS} ids; watch by workflow instead", field="job_ids")
    return EventFilter(
        frozenset(check_id(job_id, "job_ids") for job_id in message.job_ids),
        convert.plain_text(message.workflow, "workflow") if message.HasField("workflow") else None,
        frozenset(int(convert.state(state)) for state in message.states),
    )
