"""Launches that wait for what does not come by itself: they take nothing, and the same is not submitted again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from balsam_scheduler.batch.policy import Queue
from balsam_scheduler.batch.scene import Launch
from balsam_scheduler.batch.sizing import Room


def in_queue(launches: Iterable[Launch], queue: Queue) -> tuple[Launch, ...]:
    """Those that wait in vain in a queue, and were submitted with the same options."""
    where = (queue.name, queue.sched_flags)
    return tuple(one for one in launches if one.open and one.in_vain and (one.queue, one.sched_flags) == where)


def smaller(room: Room, stuck: Sequence[Launch]) -> Room | None:
    """The room for one launch more that does not ask for what these wait for; None: any would wait like them."""
    for launch in stuck:
        assert launch.in_vain is not None
        match launch.in_vain.too_much:
            case "nodes":
                room = replace(room, nodes=_less(room.nodes, launch.nodes))
            case "minutes":
                room = replace(room, minutes=_less(room.minutes, launch.wall_minutes))
            case "node-minutes":
                room = replace(room, node_minutes=_less(room.node_minutes, launch.node_minutes))
            case _:
                return None
    return room


def _less(limit: int | None, asked: int) -> int:
    return asked - 1 if limit is None else min(limit, asked - 1)


def text(launch: Launch) -> str:
    """For people: the launch, why it waits, and what to do."""
    return f"launch {launch.launch_id} waits in vain ({launch.message}); `balsam cancel {launch.launch_id}` ends that"
