"""Which waiting jobs need no new launch: an idle launcher could take them, or an open launch has room. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from balsam_scheduler.batch.nodes import Nodes
from balsam_scheduler.batch.packing import Packing
from balsam_scheduler.batch.policy import Queue
from balsam_scheduler.batch.scene import Launch, Scene
from balsam_scheduler.batch.waiting import Waiting
from balsam_scheduler.batch.work import Work


def cover_by_idle_launchers(scene: Scene, waiting: Waiting, idle_minutes: float) -> dict[str, float]:
    """Leaves to idle launchers what they could take, each for so long.

    Returns:
        Session of a launcher that could take something -> since when it has left that [s since 1970].
    """
    idle_since: dict[str, float] = {}
    for launcher in scene.launchers:
        works = [work for work in waiting.kinds(lambda work: not work.waits) if launcher.takes(work)]
        if launcher.holds or not works:
            continue
        since = scene.memory.idle_since.get(launcher.session_id, scene.now)
        idle_since[launcher.session_id] = since
        if scene.now < since + 60 * idle_minutes:
            for work in works:
                waiting.settle(work, f"launcher {launcher.label} is idle and could take it", covered=True)
    return idle_since


def cover_by_launches(scene: Scene, waiting: Waiting, nodes: Nodes, queues: Sequence[Queue]) -> None:
    """Fills the open launches, those that run first, with what they may take and, as far as is known, can run."""
    of_queue = {queue.name: queue for queue in queues}

    def takes(launch: Launch, work: Work) -> bool:
        queue = of_queue.get(launch.queue, Queue(launch.queue))
        lacks = "" if launch.kinds else nodes.lacks(replace(queue, sched_flags=launch.sched_flags), work.shape)
        return launch.takes(work) and not lacks

    rooms = [(launch, _room(scene, launch)) for launch in scene.launches if launch.covers]
    rooms.sort(key=lambda pair: (pair[0].state != "RUNNING", pair[0].launch_id))
    _place_what_runs(scene, [(launch, room) for launch, room in rooms if launch.state == "RUNNING"])
    # Those that are bound come first, and children last: they cannot start yet.
    for work in sorted(waiting.left, key=lambda work: (work.waits, work.launch is None)):
        for launch, room in rooms:
            placed = room.put(work.shape, waiting.left[work]) if takes(launch, work) else 0
            if placed:
                waiting.settle(work, f"launch {launch.launch_id} ({launch.state}) has room", placed, covered=True)


def _room(scene: Scene, launch: Launch) -> Packing:
    # A launcher that is up has done its start already.
    spare = scene.spare_minutes - (launch.start_time is not None)
    return Packing(launch.nodes, launch.minutes_left(scene.now) - spare, launch.job_mode)


def _place_what_runs(scene: Scene, rooms: Sequence[tuple[Launch, Packing]]) -> None:
    """Takes from launches what the jobs that run in them still need. Which run where is not known, only what may."""
    held = {launch.launch_id: launch.holds for launch, _ in rooms}
    for work in scene.running:
        left = work.count
        for launch, room in rooms:
            most = held[launch.launch_id]
            minutes = min(_minutes_to_go(scene, launch, work), room.minutes)
            if minutes < 1 or not launch.takes(work):
                continue
            placed = room.put(work.shape._replace(minutes=minutes), left if most is None else min(left, most))
            held[launch.launch_id] = most if most is None else most - placed
            left -= placed


def _minutes_to_go(scene: Scene, launch: Launch, work: Work) -> int:
    """How long a job that runs in a launch may still do so, as if jobs of its estimate had run one after the other.

    To charge the whole estimate again, while what is left of the launch becomes less, would leave no room for the jobs
    that the launch was submitted for and that run next.
    """
    gone = 0 if launch.start_time is None else max(0, int((scene.now - launch.start_time) / 60))
    each = work.shape.minutes
    # In the minute after an estimate its job is about to end: it began a little later than its launcher.
    return each - ((gone - 1) % each + 1) if gone else each
