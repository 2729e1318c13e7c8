"""Ends of MPI runs, which count when none of their nodes was lost: ends, answers and losses in every order."""

from __future__ import annotations

import itertools

import pytest

from balsam.v1 import job_pb2, lease_pb2
from balsam_launcher.leased import LeasedJob
from balsam_launcher.mpi_ends import PATIENCE_SECONDS, SETTLE_SECONDS, MpiEnd, MpiEnds
from balsam_launcher.needs import Need


class Ends:
    """Ends, with what was asked of nodes and what became of runs."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.counted: list[int] = []
        self.lost: dict[int, str] = {}
        self.blamed: dict[int, set[int]] = {}
        self.ends = MpiEnds(
            ask=lambda node, question: self.asked.append((node, question)),
            counts=lambda end: self.counted.append(end.leased.run_id),
            lost=self._lost,
        )

    def _lost(self, end: MpiEnd, reason: str) -> None:
        self.lost[end.leased.run_id] = reason
        self.blamed[end.leased.run_id] = set(end.nodes)

    def end(self, run: int, *nodes: int, code: int = 0, now: float = 0.0) -> None:
        lease = lease_pb2.Lease(handle=run, token=1)
        leased = LeasedJob(run, lease, job_pb2.Job(), None, "", Need(len(nodes), 1.0, True), nodes=nodes)
        self.ends.ended(MpiEnd(leased, lease_pb2.Report(), code, 1.0), nodes, now)

    def look(self, now: float) -> None:
        self.ends.look(now, lambda node: f"n{node}")

    def answer_all(self) -> None:
        """Each node answers what it was asked last."""
        for node, question in dict(self.asked).items():
            self.ends.answered(node, question)


def test_an_end_counts_when_all_nodes_have_answered() -> None:
    one = Ends()
    one.end(7, 1, 2)
    assert one.asked == [(1, 1), (2, 1)]
    one.ends.answered(2, 1)
    assert (one.counted, one.ends.keeps) == ([], True)
    one.ends.answered(1, 1)
    assert (one.counted, one.lost, one.ends.keeps) == ([7], {}, False)


def test_an_answer_to_an_earlier_question_says_nothing() -> None:
    one = Ends()
    one.end(1, 5)
    one.end(2, 5)
    one.ends.answered(5, 1)
    assert one.counted == [1]
    one.ends.answered(5, 2)
    assert one.counted == [1, 2]


def test_the_answer_to_a_later_question_is_enough() -> None:
    one = Ends()
    one.end(1, 5)
    one.end(2, 5)
    one.ends.answered(5, 2)
    assert one.counted == [1, 2]


def test_after_an_error_the_nodes_are_asked_a_moment_later_and_get_nothing_meanwhile() -> None:
    one = Ends()
    one.end(1, 3, 4, code=255)
    one.end(2, 6)
    assert one.asked == [(6, 1)]
    assert [node for node in range(8) if one.ends.doubts(node)] == [3, 4]
    one.look(SETTLE_SECONDS / 2)
    assert one.asked == [(6, 1)]
    one.look(SETTLE_SECONDS)
    assert one.asked == [(6, 1), (3, 2), (4, 2)]
    one.answer_all()
    assert sorted(one.counted) == [1, 2]
    assert not one.ends.doubts(3)


def test_an_answer_that_was_asked_for_by_another_run_says_nothing_before_the_moment_is_over() -> None:
    one = Ends()
    one.end(1, 3, code=1)
    one.end(2, 3)
    one.answer_all()
    assert one.counted == [2]


@pytest.mark.parametrize("code", [0, 255])
def test_a_run_whose_node_was_lost_is_lost_whatever_its_exit_code(code: int) -> None:
    one = Ends()
    one.end(1, 3, 4, code=code)
    one.end(2, 5, code=code)
    one.look(SETTLE_SECONDS)
    one.ends.answered(3, one.asked[-1][1])
    one.ends.node_lost(4, "n4 burns")
    assert one.lost == {1: "n4 burns"}
    one.answer_all()
    assert (one.counted, one.ends.keeps) == ([2], False)


def test_of_the_nodes_that_were_not_heard_of_the_one_that_was_lost_is_named() -> None:
    one = Ends()
    one.end(1, 3, 4, 5)
    one.end(2, 3, 5)
    one.ends.node_lost(4, "n4 burns")
    one.look(PATIENCE_SECONDS)
    assert one.blamed == {1: {4}, 2: {3, 5}}


def test_what_failed_together_with_an_agent_was_lost_with_it_and_what_ended_well_was_not() -> None:
    one = Ends()
    one.end(1, 3, code=137)
    one.end(2, 3)
    one.ends.agent_lost(3, "the agent died")
    assert one.lost == {1: "the agent died"}
    one.answer_all()
    assert one.counted == [2]


def test_what_is_silent_for_too_long_counts_as_lost() -> None:
    one = Ends()
    one.end(1, 3, 4)
    one.ends.answered(3, 1)
    one.look(PATIENCE_SECONDS - 1)
    assert not one.lost
    one.look(PATIENCE_SECONDS)
    assert one.lost == {1: "nothing was heard of n4 after the run"}


def test_what_is_taken_is_not_decided_any_more() -> None:
    one = Ends()
    one.end(1, 3)
    (end,) = one.ends.take_all()
    assert (end.leased.run_id, end.nodes) == (1, {3})
    one.answer_all()
    one.ends.node_lost(3, "late")
    assert (one.counted, one.lost, one.ends.keeps) == ([], {}, False)


NODES = {1: (1, 2), 2: (2, 3)}  # of the runs
EVENTS = [("end", 1), ("end", 2), ("lost", 2), ("answer", 1), ("answer", 2), ("answer", 3)]


def test_in_every_order_each_run_is_decided_once_and_no_loss_is_overlooked() -> None:
    for order in itertools.permutations(EVENTS):
        check(order)


def check(order: tuple[tuple[str, int], ...]) -> None:
    """A run counts when each of its nodes has answered after its end, and is lost when one is lost that has not."""
    one = Ends()
    answered: dict[int, set[int]] = {1: set(), 2: set()}
    ended: list[int] = []
    fate: dict[int, str] = {}
    for kind, value in order:
        if kind == "end":
            one.end(value, *NODES[value])
            ended.append(value)
        elif kind == "lost":
            one.ends.node_lost(value, "gone")
            silent = [run for run in ended if value in NODES[run] and value not in answered[run]]
            fate.update(dict.fromkeys(silent, "lost"))
        else:
            one.ends.answered(value, max((question for node, question in one.asked if node == value), default=0))
            for run in set(ended) - set(fate):
                answered[run].add(value)
                if answered[run] >= set(NODES[run]):
                    fate[run] = "counts"
    assert dict.fromkeys(one.counted, "counts") | dict.fromkeys(one.lost, "lost") == fate, order
    assert len(one.counted) == len(set(one.counted))
    assert {end.leased.run_id for end in one.ends.kept} == set(ended) - set(fate)
