"""Launches whose launcher is gone while the batch system keeps their nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balsam.fields import LAUNCHER_IS
from balsam_scheduler.batch.observing import launch_of
from balsam_scheduler.batch.planning import Plan, plan
from balsam_scheduler.batch.scene import Launch, Memory
from tests.batch.planning_cases import NOW, launch, policy, scene, sizes, work
from tests.batch.test_changes import MADE

RULES = policy(lost_minutes=5.0)
UP = launch(1, 2, state="RUNNING", start_time=NOW - 600, came_up=True)
GONE = replace(UP, start_time=None)


def after(minutes: float, *seen: Launch, memory: Memory = Memory(sequence=1)) -> Plan:
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
    silent = replace(GONE, state=state, came_up=False)
    assert numbers(after(6, silent, memory=after(0, UP).memory)) == [1]


@pytest.mark.parametrize(
    "other",
    [
        replace(GONE, came_up=False),  # its script has not come to its launcher yet
        replace(GONE, from_balsam=False),
        replace(GONE, state="ENDED"),
    ],
)
def test_others_are_left_alone(other: Launch) -> None:
    first = after(0, other)
    assert numbers(after(60, other, memory=first.memory)) == []


def test_the_message_of_a_launch_tells_whether_its_launcher_came_up() -> None:
    values = {"launch_id": 1, "create_time": MADE, "state": "RUNNING"}
    assert launch_of(values | {"message": f"{LAUNCHER_IS}process 7 of node1"}, {}).came_up
    assert not launch_of(values, {}).came_up
