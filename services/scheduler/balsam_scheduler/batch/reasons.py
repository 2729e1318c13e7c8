"""Why nothing is submitted for a job, for people. Pure."""

from __future__ import annotations

import datetime

from balsam.patterns import matches
from balsam_scheduler.batch.nodes import Nodes
from balsam_scheduler.batch.policy import Policy, Queue
from balsam_scheduler.batch.scene import Scene
from balsam_scheduler.batch.sizing import size
from balsam_scheduler.batch.usage import Usage
from balsam_scheduler.batch.work import Shape, Work, counted

_NOTHING = Nodes()
WAITS = "waiting for parents that have not finished"


def why_never(policy: Policy, shape: Shape, workflow: str, spare_minutes: int, nodes: Nodes = _NOTHING) -> str:
    """Why no launch that the policy allows could ever run such a job; empty: one could.

    Args:
        policy: the policy.
        shape: of the job.
        workflow: of the job.
        spare_minutes: of a launch's time so much is not for jobs [min].
        nodes: what is known of nodes.
    """
    queues = [queue for queue in policy.queues if not queue.wf_filter or matches(workflow, queue.wf_filter)]
    if not queues:
        return f"is of workflow {workflow!r}, which no queue of the policy takes"
    lacks = {queue.name: nodes.lacks(queue, shape) for queue in queues}
    queues = [queue for queue in queues if not lacks[queue.name]]
    if not queues:
        return next(iter(lacks.values()))
    if any(_holds(policy, queue, shape, spare_minutes) for queue in queues):
        return ""
    queues = [queue for queue in queues if shape.serial or queue.job_mode != "serial"]
    if not queues:
        return "is an MPI job, and the queues of the policy take serial jobs only (job_mode)"
    bands = [band for queue in queues for band in queue.bands]
    most = max(band.max_nodes for band in bands)
    if shape.nodes > most:
        return f"needs {counted(shape.nodes, 'node')}, and the largest launch of the policy has {most}"
    minutes = max(band.max_minutes for band in bands if band.max_nodes >= shape.nodes)
    if shape.minutes + spare_minutes > minutes:
        return (
            f"may take {counted(shape.minutes, 'minute')}, and a launch of so many nodes lasts at most {minutes}, of "
            f"which {spare_minutes} are for its start and end"
        )
    return f"asks for {shape.text}, which exceeds max_nodes or the node-hours of the policy"


def _holds(policy: Policy, queue: Queue, shape: Shape, spare_minutes: int) -> bool:
    room = Usage(policy, (), 0.0).whole(queue)
    return any(size(band, room, [(shape, 1)], spare_minutes, queue.job_mode) for band in queue.bands)


def bound_to(work: Work, scene: Scene) -> str:
    """The launch that jobs are bound to, and what is left of it."""
    launch = next((one for one in scene.launches if one.launch_id == work.launch), None)
    if launch is None:
        return f"launch {work.launch}"
    if launch.in_vain is not None:
        return f"launch {work.launch}, which waits in vain ({launch.message})"
    left = max(0, launch.minutes_left(scene.now))
    return f"launch {work.launch}, which has no room ({counted(launch.nodes, 'node')}, {counted(left, 'minute')} left)"


def clock(time: float) -> str:
    """A time of day, from seconds since 1970."""
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%H:%M UTC")
