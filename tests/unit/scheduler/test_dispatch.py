"""What the scheduler holds: grants, stops, reports and credit, with steps that the test ends."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from balsam.states import State
from balsam.v1.job_pb2 import Job
from balsam.v1.lease_pb2 import Grant, Lease, Program, Report
from balsam.work import Credit, Response
from balsam_scheduler.dispatch import Dispatcher
from balsam_scheduler.limits import Stopped
from balsam_scheduler.steps import Outcome, Step


class FakeLine:
    """The line to the job store: keeps what it is told."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.credit = -1

    def report(self, report: Report, *, urgent: bool) -> None:
        self.reports.append(report)

    def set_credit(self, credit: Credit, *, urgent: bool = True) -> None:
        self.credit = credit.jobs


class Scene:
    """A dispatcher whose steps wait until the test ends them, or they are stopped."""

    def __init__(self, workers: int = 2) -> None:
        self.line = FakeLine()
        self.dispatcher = Dispatcher(self._do, workers=workers, limit_seconds=60)
        self.dispatcher.connect(self.line)
        self.dispatcher.open()
        self.begun: list[tuple[int, int]] = []
        self.programs: list[str] = []
        self._ends: dict[tuple[int, int], threading.Event] = {}
        self.result: Callable[[], Outcome] = lambda: Outcome(State.STAGED_IN)

    def _do(self, step: Step) -> Outcome:
        key = (step.grant.lease.handle, step.grant.lease.token)
        self.programs.append(step.program.name)
        self.begun.append(key)
        while not self._end(*key).is_set():
            step.limit.pause(0.01)
            if step.limit.stopped:
                # Stopping takes a moment, as with real processes.
                self._end(*key).wait(0.05)
                raise Stopped
        return self.result()

    def _end(self, handle: int, token: int) -> threading.Event:
        return self._ends.setdefault((handle, token), threading.Event())

    def end(self, handle: int, token: int = 1) -> None:
        self._end(handle, token).set()

    def grant(self, *handles: int, token: int = 1) -> None:
        grants = [Grant(lease=Lease(handle=h, token=token), job=Job(state=Job.READY)) for h in handles]
        self.dispatcher.receive(Response(grants=grants))

    def stop(self, handle: int, token: int = 1) -> None:
        self.dispatcher.receive(Response(stops=[Lease(handle=handle, token=token)]))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)

    @property
    def told(self) -> list[tuple[int, int, list[str]]]:
        """Reports as (handle, token, names of states); each must end its lease."""
        assert all(report.release for report in self.line.reports)
        return [(r.lease.handle, r.lease.token, [State(p.state).name for p in r.passages]) for r in self.line.reports]


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scene())


def test_what_is_granted_is_done_and_reported() -> None:
    async def story() -> None:
        scene = Scene()
        scene.grant(1)
        scene.end(1)
        await scene.until(lambda: scene.told)
        assert scene.told == [(1, 1, ["STAGED_IN"])]
        assert scene.dispatcher.done == 1
        assert scene.dispatcher.running == 0
        await scene.dispatcher.stop()

    play(story)


def test_as_many_at_once_as_there_are_workers_the_rest_in_order() -> None:
    async def story() -> None:
        scene = Scene(workers=2)
        scene.grant(1, 2, 3, 4)
        await scene.until(lambda: len(scene.begun) == 2)
        assert scene.dispatcher.running == 2
        scene.end(2)
        await scene.until(lambda: len(scene.begun) == 3)
        for handle in (1, 3, 4):
            scene.end(handle)
        await scene.until(lambda: len(scene.told) == 4)
        assert scene.begun[2:] == [(3, 1), (4, 1)]
        await scene.dispatcher.stop()

    play(story)


def test_credit_is_what_would_keep_the_workers_busy() -> None:
    async def story() -> None:
        scene = Scene(workers=2)
        assert scene.line.credit == 4
        scene.grant(1, 2, 3)
        assert scene.line.credit == 1
        scene.end(1)
        await scene.until(lambda: scene.line.credit == 2)
        scene.dispatcher.close()
        assert scene.line.credit == 0
        await scene.dispatcher.stop()

    play(story)


def test_a_stop_ends_the_step_and_reports_no_state() -> None:
    async def story() -> None:
        scene = Scene()
        scene.grant(1)
        await scene.until(lambda: scene.begun)
        scene.stop(1)
        await scene.until(lambda: scene.told)
        assert scene.told == [(1, 1, [])]
        await scene.dispatcher.stop()

    play(story)


def test_a_stop_of_what_has_not_begun_is_answered_at_once() -> None:
    async def story() -> None:
        scene = Scene(workers=1)
        scene.grant(1, 2)
        scene.stop(2)
        assert scene.told == [(2, 1, [])]
        await scene.dispatcher.stop()
        assert (2, 1) not in scene.begun

    play(story)


def test_a_stop_of_what_has_ended_changes_nothing() -> None:
    async def story() -> None:
        scene = Scene()
        scene.stop(7)
        scene.grant(1)
        scene.stop(1, token=99)
        scene.end(1)
        await scene.until(lambda: scene.told)
        assert scene.told == [(1, 1, ["STAGED_IN"])]
        await scene.dispatcher.stop()

    play(story)


def test_a_lost_session_stops_everything_and_reports_nothing() -> None:
    async def story() -> None:
        scene = Scene(workers=1)
        scene.grant(1, 2)
        await scene.until(lambda: scene.begun)
        scene.dispatcher.lost()
        await scene.until(lambda: scene.dispatcher.running == 0)
        assert scene.told == []
        assert scene.begun == [(1, 1)]
        await scene.dispatcher.stop()

    play(story)


def test_a_refused_lease_is_stopped_and_not_reported() -> None:
    async def story() -> None:
        scene = Scene()
        scene.grant(1)
        await scene.until(lambda: scene.begun)
        scene.dispatcher.receive(Response(ack=Response.Ack(number=1, refused=[Lease(handle=1, token=1)])))
        await scene.until(lambda: scene.dispatcher.running == 0)
        assert scene.told == []
        await scene.dispatcher.stop()

    play(story)


def test_a_job_granted_anew_begins_when_nothing_of_it_runs_any_more() -> None:
    async def story() -> None:
        scene = Scene(workers=2)
        scene.grant(1, token=1)
        await scene.until(lambda: scene.begun)
        scene.dispatcher.lost()
        scene.grant(1, token=2)
        assert scene.dispatcher.running == 1  # the first, which is being stopped
        await scene.until(lambda: (1, 2) in scene.begun)
        assert scene.dispatcher.running == 1
        scene.end(1, token=2)
        await scene.until(lambda: scene.told)
        assert scene.told == [(1, 2, ["STAGED_IN"])]
        await scene.dispatcher.stop()

    play(story)


def test_a_job_granted_anew_can_be_stopped_while_it_waits() -> None:
    async def story() -> None:
        scene = Scene()
        scene.grant(1, token=1)
        await scene.until(lambda: scene.begun)
        scene.grant(1, token=2)
        scene.stop(1, token=2)
        await scene.until(lambda: scene.dispatcher.running == 0)
        assert scene.told == [(1, 2, [])]
        assert scene.begun == [(1, 1)]
        await scene.dispatcher.stop()

    play(story)


def test_a_grant_that_comes_twice_is_done_once() -> None:
    async def story() -> None:
        scene = Scene()
        scene.grant(1)
        scene.grant(1)
        scene.end(1)
        await scene.until(lambda: scene.told)
        assert scene.begun == [(1, 1)]
        await scene.dispatcher.stop()
        assert scene.told == [(1, 1, ["STAGED_IN"])]

    play(story)


def test_a_clean_stop_gives_everything_back() -> None:
    async def story() -> None:
        scene = Scene(workers=1)
        scene.grant(1, 2)
        await scene.until(lambda: scene.begun)
        await scene.dispatcher.stop()
        assert sorted(scene.told) == [(1, 1, []), (2, 1, [])]
        assert scene.line.credit == 0
        scene.grant(3)
        assert scene.told[-1] == (3, 1, [])

    play(story)


def test_an_unexpected_error_fails_that_job_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Outcome:
        raise RuntimeError("no such luck")

    async def story() -> None:
        scene = Scene()
        scene.result = broken
        scene.grant(1)
        scene.end(1)
        await scene.until(lambda: scene.told)
        scene.result = lambda: Outcome(State.STAGED_IN)
        scene.grant(2)
        scene.end(2)
        await scene.until(lambda: len(scene.told) == 2)
        assert scene.told == [(1, 1, ["FAILED"]), (2, 1, ["STAGED_IN"])]
        assert "no such luck" in scene.line.reports[0].message
        await scene.dispatcher.stop()

    play(story)
    assert "no such luck" in caplog.text


def test_a_message_may_name_a_file_whose_name_is_no_text() -> None:
    async def story() -> None:
        scene = Scene()
        name = os.fsdecode(b"caf\xe9")
        scene.result = lambda: Outcome(State.FAILED, f"{name}: no such file")
        scene.grant(1)
        scene.end(1)
        await scene.until(lambda: scene.told)
        assert scene.line.reports[0].message == "caf?: no such file"
        await scene.dispatcher.stop()

    play(story)


def test_a_grant_comes_with_its_program_as_it_was_then() -> None:
    async def story() -> None:
        scene = Scene(workers=1)
        for handle, name in enumerate(("old", "new"), start=1):
            grant = Grant(lease=Lease(handle=handle, token=1), job=Job(state=Job.READY), program_id=5)
            scene.dispatcher.receive(Response(programs=[Program(program_id=5, name=name)], grants=[grant]))
        scene.grant(3)
        for handle in (1, 2, 3):
            scene.end(handle)
        await scene.until(lambda: len(scene.told) == 3)
        assert scene.programs == ["old", "new", ""]
        await scene.dispatcher.stop()

    play(story)
