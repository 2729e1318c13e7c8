"""Launches whose launcher is gone while the batch system keeps their nodes: nothing will use these any more. Pure.

A launcher is gone when the job store has ended its session. It may come back with another one, as after a cut in the
network that lasts longer than its lease: so a while must pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from balsam_scheduler.batch.policy import Policy
from balsam_scheduler.batch.reasons import clock
from balsam_scheduler.batch.scene import Launch, Scene


def last_seen(scene: Scene) -> dict[int, float]:
    """Open launch whose launcher has been at work -> when it was last, as far as is known [s since 1970].

    Of one that nobody has seen at work, and that has said what it found all the same, it is now. One that is only about
    to open its session, as it may be for minutes on many nodes, is not there.
    """
    before, seen = scene.memory.last_seen, {}
    for launch in scene.launches:
        number, at_work = launch.launch_id, launch.start_time is not None
        if launch.open and (at_work or launch.kinds or number in before):
            seen[number] = scene.now if at_work else before.get(number, scene.now)
    return seen


def marked(policy: Policy, scene: Scene, seen: Mapping[int, float]) -> tuple[Launch, ...]:
    """The launches, oldest first, with the time at which their launcher was seen last for those that have lost it."""

    def lost(launch: Launch) -> bool:
        gone_minutes = (scene.now - seen.get(launch.launch_id, scene.now)) / 60
        return launch.from_balsam and launch.start_time is None and gone_minutes > policy.lost_minutes

    oldest_first = sorted(scene.launches, key=lambda launch: launch.launch_id)
    return tuple(replace(one, lost=seen[one.launch_id]) if lost(one) else one for one in oldest_first)


def text(launch: Launch) -> str:
    """For people: the launch, and what becomes of it."""
    since = clock(launch.lost) if launch.lost is not None else "?"
    return f"launch {launch.launch_id} has had no launcher since {since} and still has nodes: it is to be cancelled"
