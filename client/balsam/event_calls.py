"""Calls about events: the history of jobs, and the stream of what comes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from balsam.convert import state_number, time_of
from balsam.history import Move, Passage
from balsam.states import State
from balsam.v1 import event_pb2, event_service_pb2, job_pb2
from balsam.v1.event_service_pb2_grpc import EventServiceStub

if TYPE_CHECKING:
    from balsam.client import Client

MAX_IDS = 100_000
"""Jobs that one filter of events can name."""


class EventCalls:
    """The job store's service for events."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def history(self, job_id: str) -> list[Passage]:
        """Every state that a job entered, oldest first; a message belongs to the last state of its event."""
        return [passage for event in self.messages([job_id]) for passage in passages(event)]

    def moves(self, job_ids: Sequence[str] = (), states: Sequence[str] = ()) -> Iterator[Move]:
        """The moves of these jobs (none: all) into any of these states (none: all), oldest first, page by page.

        What tells that a job was deleted always comes. At most `MAX_IDS` ids.
        """
        return map(move, self.messages(job_ids, states))

    def messages(self, job_ids: Sequence[str] = (), states: Sequence[str] = ()) -> Iterator[event_pb2.Event]:
        """The same events as they come, for who reads so many that making more of each costs too much."""
        return itertools.chain.from_iterable(self.pages(job_ids, states))

    def pages(self, job_ids: Sequence[str] = (), states: Sequence[str] = ()) -> Iterator[Sequence[event_pb2.Event]]:
        """The same events, page by page."""
        wanted = event_service_pb2.EventFilter(job_ids=job_ids, states=_numbers(states))
        request = event_service_pb2.ListEventsRequest(filter=wanted)
        while True:
            answer = self._client.call(EventServiceStub, "ListEvents", request)
            yield answer.events
            if not answer.more or not answer.events:
                return
            request.after_sequence = answer.events[-1].sequence

    def page(self, after: int, size: int) -> Sequence[event_pb2.Event]:
        """The first events after a sequence, of whatever job; at most `size` of them, 1 to 10,000."""
        request = event_service_pb2.ListEventsRequest(after_sequence=after, page_size=size)
        found: Sequence[event_pb2.Event] = self._client.call(EventServiceStub, "ListEvents", request).events
        return found

    def watch(self, job_ids: Sequence[str], states: Sequence[str], after: int | None = None) -> Any:
        """Opens the stream of events of these jobs (none: all) that enter these states, after a sequence."""
        watched = job_ids if len(job_ids) <= MAX_IDS else ()
        request = event_service_pb2.WatchEventsRequest(
            filter=event_service_pb2.EventFilter(job_ids=watched, states=_numbers(states)), after_sequence=after
        )
        return self._client.stream(EventServiceStub, "WatchEvents", request)


def _numbers(states: Sequence[str]) -> list[job_pb2.Job.State.ValueType]:
    return [job_pb2.Job.State.ValueType(state_number(state)) for state in states]


def move(event: event_pb2.Event) -> Move:
    """What one event says about where the job stands."""
    states = tuple([State(state).name for state in event.states])
    return Move(event.job_id, time_of(event.time), states, event.deleted)


def passages(event: event_pb2.Event) -> list[Passage]:
    """The states of one event."""
    time = time_of(event.time)
    last = len(event.states) - 1
    return [
        Passage(State(state).name, time, event.message if number == last else "")
        for number, state in enumerate(event.states)
    ]
