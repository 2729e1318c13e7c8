"""Launches whose launcher is gone while the batch system keeps their nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balsam_scheduler.batch.nodes import NodeKind
from balsam_scheduler.batch.planning import Plan, plan
from balsam_scheduler.batch.scene import Launch, Memory
from tests.batch.planning_cases import KNOWN, NOW, launch, policy, scene, sizes, work

RULES = policy(lost_minutes=5.0)
UP = launch(1, 2, state="RUNNING", start_time=NOW - 600, kinds=(NodeKind(2, 8, 0),))
GONE = replace(UP, start_time=None)


def after(minutes: float, *seen: Launch, memory: Memory = KNOWN) -> Plan:
    """The plan of a moment."""
    return plan(RULES, scene(work(2), launches=seen, now=NOW + 60 * minutes, memory=memory))


def numbers(found: Plan) -> list[int]:
    return [one.launch_id for one in found.lost]


def test_it_has_room_for_a_while_and_then_it_is_lost() -> None:
    up = after(0, UP)
    cut_off = after(4, GONE, memory=up.memory)
    assert (numbers(cut_off), sizes(cut_off), cut_off.verdicts[0].covered) == ([], [], True)
    lost = after(6, GONE, memory=cut_off.memory)
    assert (numbers(lost), sizes(lost)) == ([1], [(1, 30)])
    assert lost.notes == ("launch 1 has had no launcher since 01:46 UTC and still has nodes: it is to be cancelled",)


def test_a_launcher_that_comes_back_with_another_session_is_not_lost() -> None:
    up = after(0, UP)
    back = after(6, replace(UP, start_time=NOW + 300), memory=after(4, GONE, memory=up.memory).memory)
    assert (numbers(back), sizes(back)) == ([], [])
    assert numbers(after(10, GONE, memory=back.memory)) == []
    assert numbers(after(12, GONE, memory=back.memory)) == [1]


def test_one_that_nobody_has_seen_at_work_has_its_while_too() -> None:
    first = after(0, GONE)
    assert numbers(first) == []
    assert numbers(after(6, GONE, memory=first.memory)) == [1]


@pytest.mark.parametrize("state", ["UNKNOWN", "RUNNING"])
def test_also_if_the_batch_system_says_nothing_of_it_meanwhile(state: str) -> None:
    silent = replace(GONE, state=state, kinds=())
    assert numbers(after(6, silent, memory=after(0, UP).memory)) == [1]


@pytest.mark.parametrize(
    "other",
    [
        replace(GONE, kinds=()),  # its launcher has not come up yet
        replace(GONE, from_balsam=False),
        replace(GONE, state="ENDED"),
    ],
)
def test_others_are_left_alone(other: Launch) -> None:
    first = after(0, other)
    assert numbers(after(60, other, memory=first.memory)) == []
