"""Runs that are queued at the agent of the only node: as long as others end."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from balsam.v1 import job_pb2, lease_pb2
from balsam_launcher.ahead import QUEUE_SECONDS, Ahead
from balsam_launcher.appetite import Appetite
from balsam_launcher.leased import LeasedJob
from balsam_launcher.needs import Need
from balsam_launcher.nodes import Node
from balsam_launcher.pool import Pool


class Desk:
    """One node with a full queue behind a run, a clock, and the calls that are due."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.dropped: list[int] = []
        self.pool = Pool([Node("n0", cores=1)])
        self.appetite = Appetite(1)
        self.appetite.learn(0.001, 1.0, self.now)
        self.ahead = Ahead(
            self.pool,
            self.appetite,
            drop=lambda queued: self.dropped.extend(leased.run_id for leased in queued),
            later=lambda seconds, call: self.due.append((self.now + seconds, call)),
            clock=lambda: self.now,
        )
        for number in range(1, 5):
            need = Need(1, 1.0, False)
            self.pool.add(LeasedJob(number, lease_pb2.Lease(handle=number), job_pb2.Job(), None, "", need))

    def start(self) -> list[int]:
        started = [leased.run_id for leased in itertools.islice(self.pool.startable(self.ahead.jobs), 3)]
        self.ahead.watch()
        return started

    def wait(self) -> None:
        """Until the next call that is due."""
        self.now, call = self.due.pop(0)
        call()


def test_nothing_is_queued_before_a_run_has_ended() -> None:
    desk = Desk()
    assert desk.ahead.jobs == 0
    assert desk.start() == [1]
    assert desk.due == []


def test_what_is_queued_is_taken_back_once_nothing_ends_any_more() -> None:
    desk = Desk()
    desk.ahead.last_end = desk.now
    assert desk.start() == [1, 2, 3]
    assert len(desk.due) == 1
    desk.ahead.watch()
    assert len(desk.due) == 1, "watched once"
    desk.wait()
    assert desk.dropped == [3, 2], "each goes before those that came back before"


def test_as_long_as_runs_end_it_stays() -> None:
    desk = Desk()
    desk.ahead.last_end = desk.now
    desk.start()
    desk.ahead.last_end = desk.now + QUEUE_SECONDS
    desk.wait()
    assert (desk.dropped, len(desk.due)) == ([], 1)
    desk.wait()
    assert desk.dropped == [3, 2]
