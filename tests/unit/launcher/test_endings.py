"""What is reported of ended runs at once, and what is kept back for a moment."""

from __future__ import annotations

import itertools

import pytest

from balsam.states import State
from balsam.v1 import job_pb2, lease_pb2
from balsam_launcher import reports
from balsam_launcher.endings import SIGNAL_SECONDS, Endings
from balsam_launcher.leased import LeasedJob
from balsam_launcher.needs import Need
from balsam_launcher.quarantine import QUICK_SECONDS, UNKNOWN_SECONDS

numbers = itertools.count(1)


class Told:
    """Endings, and what they have told."""

    def __init__(self, *, nodes: int = 1, in_allocation: bool = False) -> None:
        self.reports: list[tuple[int, lease_pb2.Report]] = []
        self.aside: list[int] = []
        self.endings = Endings(
            several_nodes=nodes > 1,
            in_allocation=in_allocation,
            report=lambda leased, report: self.reports.append((leased.run_id, report)),
            set_aside=lambda node, reason: self.aside.append(node),
        )

    def end(
        self, code: int = 0, *, node: int = 0, seconds: float = 0.1, now: float = 0.0, announced: bool = False
    ) -> int:
        number = next(numbers)
        lease = lease_pb2.Lease(handle=number, token=1)
        leased = LeasedJob(
            number, lease, job_pb2.Job(), None, "", Need(1, 1.0, False), nodes=(node,), announced=announced
        )
        report = reports.ended(leased, code, 1_000, 2_000, "exit code 1" if code else "", stopped=False)
        self.endings.ended(leased, report, code, seconds, now)
        return number

    @property
    def states(self) -> list[tuple[int, str]]:
        return [(run, State(report.passages[-1].state).name) for run, report in self.reports]


def test_on_the_only_node_everything_is_reported_at_once() -> None:
    told = Told()
    runs = [told.end(0), told.end(1), told.end(-15)]
    assert told.states == list(zip(runs, ["RUN_DONE", "RUN_ERROR", "RUN_ERROR"], strict=True))
    assert not told.endings.keeps


def test_on_several_nodes_a_quick_failure_waits_for_what_the_others_do() -> None:
    told = Told(nodes=2)
    quick = told.end(1, node=1)
    assert told.states == []
    told.endings.look(UNKNOWN_SECONDS)
    assert told.states == [(quick, "RUN_ERROR")]


def test_a_failure_that_took_its_time_is_the_jobs_own() -> None:
    told = Told(nodes=2)
    run = told.end(1, seconds=QUICK_SECONDS + 1)
    assert told.states == [(run, "RUN_ERROR")]


def test_runs_of_a_node_that_is_set_aside_count_as_none() -> None:
    told = Told(nodes=2)
    for _ in range(20):
        told.end(0, node=0)
    told.reports.clear()
    failed = [told.end(1, node=1, announced=number == 0) for number in range(5)]
    assert told.aside == [1]
    assert [run for run, _ in told.reports] == failed
    assert all(report.spared and report.release for _, report in told.reports)
    # One whose start is known has nothing more to tell, of the others RUNNING is what the lease ends in.
    assert [len(report.passages) for _, report in told.reports] == [0, 1, 1, 1, 1]
    assert "exit code 1" in told.reports[0][1].message


def test_a_run_that_had_begun_on_a_node_before_it_was_set_aside_counts_as_none_too() -> None:
    told = Told(nodes=2)
    for _ in range(20):
        told.end(0, node=0)
    for _ in range(5):
        told.end(1, node=1)
    told.reports.clear()
    late = told.end(1, node=1)
    ((run, report),) = told.reports
    assert (run, report.spared, told.aside) == (late, True, [1])
    lasting = told.end(1, node=1, seconds=QUICK_SECONDS + 1)
    assert told.states[-1] == (lasting, "RUN_ERROR")


@pytest.mark.parametrize("code", [-15, -9, 143, 130])
def test_in_an_allocation_the_end_by_a_signal_may_be_the_allocations_own(code: int) -> None:
    told = Told(in_allocation=True)
    run = told.end(code)
    assert told.states == []
    told.endings.stopping("stopped: SIGTERM")
    ((_, report),) = told.reports
    assert told.states == [(run, "RUN_TIMEOUT")]
    assert report.message == "stopped: SIGTERM"
    later = told.end(code)  # signalled at the same time, and heard of after we were
    assert told.states[-1] == (later, "RUN_TIMEOUT")


def test_where_nothing_follows_the_signal_was_meant_for_the_run() -> None:
    told = Told(in_allocation=True)
    run = told.end(-9)
    told.endings.look(SIGNAL_SECONDS)
    assert told.states == [(run, "RUN_ERROR")]


def test_a_run_that_lasts_speaks_for_its_node() -> None:
    told = Told(nodes=2)
    failed = told.end(1, node=0)
    lasting = LeasedJob(next(numbers), lease_pb2.Lease(), job_pb2.Job(), None, "", Need(1, 1.0, False), nodes=(0,))
    told.endings.lasts(lasting)
    assert told.states == [(failed, "RUN_ERROR")]


def test_what_is_kept_back_when_the_session_ends_is_the_callers() -> None:
    told = Told(nodes=2, in_allocation=True)
    told.end(1)
    told.end(-15)
    assert len(told.endings.take_all()) == 2
    assert (told.reports, told.endings.keeps) == ([], False)
