"""Reports on their way: sent in few messages, kept until they are acknowledged, and written down before."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from balsam.ledger import Ledger, directory
from balsam.outbox import Outbox
from balsam.site import make_site
from balsam.states import State
from balsam.v1 import lease_pb2


def report(handle: int, *, result: bool = True) -> lease_pb2.Report:
    """Of a run that has ended; or of one that runs."""
    state = State.RUN_DONE if result else State.RUNNING
    passage = lease_pb2.Passage(state=int(state), time_us=1)  # type: ignore[arg-type]
    return lease_pb2.Report(lease=lease_pb2.Lease(handle=handle, token=1), passages=[passage], release=result)


def unused(work: Coroutine[Any, Any, None]) -> None:
    work.close()
    raise AssertionError("nothing is done in the background here")


@pytest.fixture
def box() -> Outbox:
    return Outbox(None, unused)


def handles(reports: Any) -> list[int]:
    return [one.lease.handle for one in reports]


def send(box: Outbox) -> tuple[int, list[int]]:
    message = box.next_message()
    assert message is not None
    return message.number, handles(message.reports)


def test_reports_wait_while_two_messages_are_in_flight(box: Outbox) -> None:
    for handle in (1, 2):
        box.add("s", [report(handle)])
        assert not box.gathers
        assert send(box) == (handle, [handle])
    box.add("s", [report(3)])
    box.add("s", [report(4)])
    assert box.gathers
    assert handles(box.acknowledged(1)) == [1]
    assert not box.gathers
    assert send(box) == (3, [3, 4])
    assert (box.waits, box.next_message()) == (False, None)


def test_a_new_stream_carries_all_that_is_not_acknowledged(box: Outbox) -> None:
    for handle in (1, 2):
        box.add("s", [report(handle)])
        send(box)
    list(box.acknowledged(1))
    box.add("s", [report(3)])
    box.send_again()
    assert [send(box), send(box)] == [(2, [2]), (3, [3])]


def test_it_is_settled_when_all_is_acknowledged(box: Outbox) -> None:
    async def settles() -> bool:
        waiting = asyncio.create_task(box.settle())
        await asyncio.sleep(0)
        done = waiting.done()
        waiting.cancel()
        return done

    box.add("s", [report(1)])
    send(box)
    box.see_whether_settled()
    assert not asyncio.run(settles())
    list(box.acknowledged(1))
    box.see_whether_settled()
    assert asyncio.run(settles())


def test_of_a_session_that_has_ended_the_results_are_told_late(box: Outbox) -> None:
    box.add("s", [report(1), report(2, result=False)])
    send(box)
    box.add("s", [report(3)])
    box.session_ended()
    assert (handles(box.late), box.waits) == ([1, 3], False)
    box.add_late("t", report(4))
    box.late_are_told([report(1), report(3)])
    assert handles(box.late) == [4]
    box.late_are_told([report(4)])
    asyncio.run(box.settle())


@pytest.mark.parametrize("acknowledged", [True, False])
def test_what_is_not_acknowledged_outlives_us(tmp_path: Path, acknowledged: bool) -> None:
    site = make_site(tmp_path / "site")

    async def work() -> None:
        box = Outbox(Ledger(site), unused)
        box.add("s", [report(1)])
        if acknowledged:
            send(box)
            list(box.acknowledged(1))
            box.see_whether_settled()
        box.close()

    asyncio.run(work())
    assert bool(list(directory(site).iterdir())) is not acknowledged
