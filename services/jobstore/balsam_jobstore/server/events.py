"""EventService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from balsam.errors import ValidationError
from balsam.fields import check_id
from balsam.serving import CALLER
from balsam.v1 import event_service_pb2
from balsam.v1.event_service_pb2_grpc import EventServiceServicer
from balsam_jobstore import reading
from balsam_jobstore.access import RUN
from balsam_jobstore.events import EventFilter, read_page, that_fit
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
        self._made: dict[tuple[EventFilter, int], tuple[pb.WatchEventsResponse | None, int]] = {}
        """(filter, position) -> what `_fresh` gives, as long as there is nothing after `_made_at`."""
        self._made_at = 0

    async def ListEvents(self, request: pb.ListEventsRequest, context: Any) -> pb.ListEventsResponse:
        """A page of the history."""
        wanted = self._filter(request.filter)
        size = reading.page_size(request.page_size)
        after = request.after_sequence
        found, more = await self._store.read(lambda connection: read_page(connection, wanted, after, size))
        events = [convert.event_message(event, self._store.users.name) for event in found]
        return pb.ListEventsResponse(events=events, more=more)

    async def WatchEvents(self, request: pb.WatchEventsRequest, context: Any) -> AsyncIterator[pb.WatchEventsResponse]:
        """Events as they are committed."""
        wanted = self._filter(request.filter)
        hub = self._store.hub
        position = request.after_sequence if request.HasField("after_sequence") else hub.sequence
        if position < 0:
            raise ValidationError(f"after_sequence = {position}: must be 0 or more", field="after_sequence")
        if self._store.siblings is not None:
            await self._store.siblings.reach(position)  # another job store may have told of it before we heard
        position = min(position, hub.sequence)
        yield pb.WatchEventsResponse(sequence=position)
        hub.watchers += 1
        try:
            while True:
                upto, start = hub.sequence, position
                told = self._fresh(wanted, position)
                if told is not None:
                    message, position = told
                else:
                    found, more = await self._store.read(
                        lambda connection, start=start: read_page(connection, wanted, start, _BATCH)  # type: ignore[misc]
                    )
                    position = found[-1].sequence if more else max(upto, position)
                    message = self._message([event for event in found if event.sequence <= position], position)
                if message is not None:
                    yield message
                await hub.wait_beyond(position)
        finally:
            hub.watchers -= 1

    def _fresh(self, wanted: EventFilter, position: int) -> tuple[pb.WatchEventsResponse | None, int] | None:
        """What comes next after a position, and where that ends; made once for all who want the same.

        None: the ring does not reach back so far.
        """
        hub = self._store.hub
        if self._made_at != hub.sequence:
            self._made_at = hub.sequence
            self._made.clear()
        made = self._made.get((wanted, position))
        if made is not None:
            return made
        fresh = hub.after(position, _BATCH)
        if fresh is None:
            return None
        told = that_fit(fresh)
        more = len(told) == _BATCH or len(told) < len(fresh)
        upto = told[-1].sequence if more else max(position, hub.sequence)
        made = self._message([event for event in told if wanted.matches(event)], upto), upto
        if len(fresh) <= _SHARED:  # one that lags far behind is alone with that
            self._made[wanted, position] = made
        return made

    def _message(self, events: Sequence[EventRecord], position: int) -> pb.WatchEventsResponse | None:
        """Events as a message, after which its reader is at `position`; None where there are none."""
        if not events:
            return None
        name = self._store.users.name
        return pb.WatchEventsResponse(
            events=[convert.event_message(event, name) for event in events], sequence=position
        )

    def _filter(self, message: pb.EventFilter) -> EventFilter:
        if len(message.job_ids) > MAX_JOB_IDS:
            raise ValidationError(
                f"job_ids has more than {MAX_JOB_IDS} ids; watch by workflow instead", field="job_ids"
            )
        caller = CALLER.get()
        return EventFilter(
            frozenset(check_id(job_id, "job_ids") for job_id in message.job_ids),
            convert.plain_text(message.workflow, "workflow") if message.HasField("workflow") else None,
            frozenset(int(convert.state(state)) for state in message.states),
            caller.user_key if caller.role == RUN and self._store.users.any else None,
        )
