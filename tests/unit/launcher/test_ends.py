"""Ends that nobody ordered: which are told at once, and which wait for what is heard of their nodes."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from balsam.states import State
from balsam.v1 import job_pb2, lease_pb2
from balsam_launcher import reports
from balsam_launcher.ends import Ends
from balsam_launcher.leased import Ending, LeasedJob
from balsam_launcher.needs import Need
from balsam_launcher.nodes import Node
from balsam_launcher.placement import Placement
from balsam_launcher.quarantine import UNKNOWN_SECONDS


class Desk:
    """Three nodes, the first of which is this host; what was asked, told, and is due."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.told: list[tuple[int, lease_pb2.Report]] = []
        self.late: list[lease_pb2.Report] = []
        self.due: list[Callable[[], None]] = []
        self.out_of_reach: set[int] = set()
        self.placement = Placement(nodes := [Node(f"n{number}", cores=4, local=not number) for number in range(3)])
        self.ends = Ends(
            nodes,
            self,
            self.placement,
            in_allocation=False,
            is_reached=self.serves,
            running=list,
            report=lambda leased, report: self.told.append((leased.run_id, report)),
            report_late=self.late.append,
            set_aside=lambda node, reason: None,
            later=lambda seconds, call: self.due.append(call),
            looked=lambda: None,
        )
        self._numbers = itertools.count(1)

    def serves(self, agent: int) -> bool:
        return agent not in self.out_of_reach

    def can_tell(self, node: int) -> bool:
        return True

    def ask(self, node: int, question: int) -> None:
        self.asked.append((node, question))

    def end(self, *nodes: int, code: int = 0, mpi: bool = True, now: float = 0.0) -> LeasedJob:
        number = next(self._numbers)
        lease = lease_pb2.Lease(handle=number, token=1)
        leased = LeasedJob(number, lease, job_pb2.Job(), None, "", Need(len(nodes), 1.0, mpi), nodes=nodes)
        report = reports.ended(leased, code, 1_000, 2_000, "", stopped=False)
        self.ends.ended(leased, report, code, 0.1, now)
        return leased

    @property
    def states(self) -> list[str]:
        return [State(report.passages[-1].state).name for _, report in self.told]


def test_an_mpi_run_on_this_host_alone_is_told_of_at_once() -> None:
    desk = Desk()
    desk.end(0)
    assert (desk.states, desk.asked, desk.ends.keeps) == (["RUN_DONE"], [], False)


def test_one_on_other_hosts_waits_for_them() -> None:
    desk = Desk()
    desk.end(0, 1, 2)
    assert (desk.asked, desk.states) == ([(1, 1), (2, 1)], [])
    assert not desk.ends.alive(1, 1)
    assert desk.ends.alive(2, 1)
    assert (desk.states, desk.ends.keeps) == (["RUN_DONE"], False)


def test_of_one_that_failed_the_nodes_get_nothing_until_they_are_heard_of() -> None:
    desk = Desk()
    desk.end(1, 2, code=1)
    assert desk.placement.open_count(mpi=True) == 1
    desk.ends.agent_lost(1, "its agent died")
    assert desk.told[0][1].spared, "it was no failure of its own"
    assert desk.placement.open_count(mpi=True) == 3


def test_when_the_launcher_stops_what_is_in_reach_lives() -> None:
    desk = Desk()
    good = desk.end(1)
    lost = desk.end(2)
    desk.out_of_reach.add(2)
    desk.ends.stopping("stopped: SIGTERM")
    assert [(run, report.spared) for run, report in desk.told] == [(good.run_id, False), (lost.run_id, True)]
    assert lost.reason == "n2 could not be reached when the launcher stopped"
    desk.end(1)
    assert (len(desk.told), desk.asked) == (3, [(1, 1), (2, 2)]), "nobody is asked any more"


def test_after_the_session_has_ended_ends_are_told_in_another_way() -> None:
    desk = Desk()
    desk.end(1, code=1, mpi=False)
    kept = desk.end(2)
    desk.ends.revoke()
    assert (len(desk.late), kept.ending) == (1, Ending.REVOKED)
    desk.ends.alive(2, 1)
    assert (len(desk.late), desk.told) == (2, [])


def test_a_quick_failure_is_looked_at_again_until_it_is_told_of() -> None:
    desk = Desk()
    desk.end(1, code=1, mpi=False, now=-UNKNOWN_SECONDS)
    (look,) = desk.due
    desk.due.clear()
    look()
    assert desk.states == ["RUN_ERROR"]
    (look,) = desk.due
    desk.due.clear()
    look()
    assert desk.due == [], "nothing is kept back any more"
