"""The event stream goes on where it broke off, for as long as is asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from balsam.errors import BalsamError, NotAllowed, Unavailable
from balsam.event_stream import EventStream

Said = tuple[int, list[str]]


class _Call:
    """One answer of the job store after the other; an exception breaks it off."""

    def __init__(self, answers: Sequence[Said | Exception]) -> None:
        self._answers = answers
        self.cancelled = False

    def __iter__(self) -> Iterator[Any]:
        for one in self._answers:
            if isinstance(one, Exception):
                raise one
            yield SimpleNamespace(sequence=one[0], events=one[1])

    def cancel(self) -> None:
        self.cancelled = True


class _Client:
    """Stands for the client: each time that the stream is opened, the next of these conversations."""

    def __init__(self, *conversations: Sequence[Said | Exception]) -> None:
        self.calls = [_Call(one) for one in conversations]
        self.opened_after: list[int | None] = []
        self.events = self

    def watch(self, job_ids: Sequence[str], states: Sequence[str], after: int | None) -> _Call:
        if len(self.opened_after) == len(self.calls):
            raise NotAllowed("no more")
        self.opened_after.append(after)
        return self.calls[len(self.opened_after) - 1]


class _Broken(grpc.RpcError):
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "gone"

    def trailing_metadata(self) -> tuple[()]:
        return ()


def _stream(client: _Client, problems: list[BalsamError | None]) -> EventStream:
    def pause(problem: BalsamError | None) -> float:
        problems.append(problem)
        if isinstance(problem, NotAllowed):
            raise problem
        return 0.0

    return EventStream(client, pause=pause)  # type: ignore[arg-type]


def test_it_is_opened_again_after_the_last_sequence_that_was_seen() -> None:
    client = _Client([(4, []), (7, ["a"]), (8, []), _Broken()], [(8, []), (9, ["b"])])
    problems: list[BalsamError | None] = []
    heard: list[Sequence[Any]] = []
    with pytest.raises(NotAllowed):
        heard.extend(_stream(client, problems))
    assert heard == [[], ["a"], [], ["b"]], "an empty batch tells each time that the subscription stands"
    assert client.opened_after == [None, 8]
    assert [type(problem) for problem in problems] == [Unavailable, type(None), NotAllowed]
    assert all(call.cancelled for call in client.calls)


def test_who_closes_it_is_told_of_no_problem() -> None:
    client = _Client([(1, ["a"]), _Broken()])
    problems: list[BalsamError | None] = []
    stream = _stream(client, problems)
    for _ in stream:
        stream.close()
    assert problems == []


def test_a_job_store_that_is_not_expected_back_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = iter([True, False])
    monkeypatch.setattr("balsam.event_stream.stores.expected", lambda site: next(expected))
    monkeypatch.setattr("balsam.event_stream._RETRY_SECONDS", 0.0)
    client = _Client([_Broken()], [(1, ["a"]), _Broken()])
    client.site = None  # type: ignore[attr-defined]
    heard: list[Sequence[Any]] = []
    with pytest.raises(Unavailable, match="is not running"):
        heard.extend(EventStream(client))  # type: ignore[arg-type]
    assert heard == [["a"]]
