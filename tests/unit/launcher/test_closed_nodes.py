"""Nodes that get nothing more: what closes them, and what opens them again."""

from __future__ import annotations

from balsam_launcher.closed_nodes import MOST_DEATHS, ClosedNodes
from balsam_launcher.nodes import Node
from balsam_launcher.placement import Placement


class Nodes:
    """Three nodes, and what is thought of them."""

    def __init__(self) -> None:
        self.suspects: set[int] = set()
        self.out_of_reach: set[int] = set()
        self.placement = Placement([Node(f"n{number}", cores=4) for number in range(3)])
        self.closed = ClosedNodes(
            self.placement,
            is_suspect=self.suspects.__contains__,
            is_reached=lambda node: node not in self.out_of_reach,
        )

    @property
    def open(self) -> list[int]:
        return [node for node in range(3) if self.placement.is_open(node, mpi=True)]


def test_a_suspect_gets_nothing_until_it_is_none_any_more() -> None:
    nodes = Nodes()
    nodes.suspects.add(1)
    nodes.closed.suspend([0, 1])
    assert (nodes.open, nodes.closed.suspends) == ([0, 2], True)
    nodes.closed.look()
    assert nodes.open == [0, 2]
    nodes.suspects.clear()
    nodes.closed.look()
    assert (nodes.open, nodes.closed.suspends) == ([0, 1, 2], False)


def test_a_suspect_that_is_out_of_reach_is_opened_when_it_is_back() -> None:
    nodes = Nodes()
    nodes.suspects.add(1)
    nodes.closed.suspend([1])
    nodes.out_of_reach.add(1)
    nodes.suspects.clear()
    nodes.closed.look()
    assert nodes.open == [0, 2]
    nodes.out_of_reach.clear()
    nodes.closed.reached(1)
    assert nodes.open == [0, 1, 2]


def test_coming_within_reach_clears_no_suspect() -> None:
    nodes = Nodes()
    nodes.suspects.add(2)
    nodes.closed.suspend([2])
    nodes.closed.reached(2)
    assert nodes.open == [0, 1]


def test_what_is_set_aside_stays_so() -> None:
    nodes = Nodes()
    nodes.closed.set_aside(0, "its disk is full")
    nodes.closed.reached(0)
    nodes.closed.look()
    assert (nodes.open, nodes.closed.aside) == ([1, 2], {0: "its disk is full"})


def test_losses_count_when_they_follow_one_another() -> None:
    closed = Nodes().closed
    assert not any(closed.died(1) for _ in range(MOST_DEATHS - 1))
    closed.did_well(1)
    assert [closed.died(1) for _ in range(MOST_DEATHS)] == [False] * (MOST_DEATHS - 1) + [True]
    assert not closed.died(2)
