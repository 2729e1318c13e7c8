"""When it is time to look at a site again."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from balsam.errors import Unavailable
from balsam_cli.watch import Changes


class Stream:
    """Stands for the event stream: gives what is put into it."""

    def __init__(self) -> None:
        self.coming: queue.Queue[Sequence[Any] | Exception | None] = queue.Queue()

    def __iter__(self) -> Iterator[Sequence[Any]]:
        while (one := self.coming.get()) is not None:
            if isinstance(one, Exception):
                raise one
            yield one

    def close(self) -> None:
        self.coming.put(None)


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    one = Stream()
    monkeypatch.setattr("balsam_cli.watch.EventStream", lambda _store: one)
    yield one
    one.close()


def test_one_looks_at_once_and_then_when_something_has_happened(stream: Stream) -> None:
    seen: list[Any] = []
    changes = Changes(None, seen.extend)  # type: ignore[arg-type]
    assert changes.wait(5.0)
    assert not changes.wait(0.01)
    stream.coming.put(["event"])
    assert changes.wait(5.0)
    assert seen == ["event"]
    changes.look_again()
    assert changes.wait(5.0)


def test_a_look_that_took_long_is_followed_by_a_long_rest(stream: Stream) -> None:
    changes = Changes(None)  # type: ignore[arg-type]
    assert changes.wait(5.0)
    changes.looked(time.monotonic() - 60)
    stream.coming.put(["event"])
    assert not changes.wait(0.05)
    changes.looked(time.monotonic())
    assert changes.wait(5.0), "what has happened meanwhile is not forgotten"


def test_a_job_store_that_is_gone_is_told_of(stream: Stream) -> None:
    changes = Changes(None)  # type: ignore[arg-type]
    assert changes.wait(5.0)
    assert not changes.are_over
    stream.coming.put(Unavailable("gone"))
    with pytest.raises(Unavailable, match="gone"):
        changes.wait(5.0)
    assert changes.are_over
