"""Policies, work and launches for tests of the planner, in few words."""

from __future__ import annotations

from typing import Any

from balsam_scheduler.batch.planning import Plan, plan
from balsam_scheduler.batch.policy import Band, Policy, Queue
from balsam_scheduler.batch.scene import Launch, Memory, Scene
from balsam_scheduler.batch.work import Shape, Work

NOW = 1_000_000_000.0
SPARE = 2
"""Minutes of a launch that are not for jobs."""
KNOWN = Memory(sequence=1)
"""Of a service that has been at work."""


def work(
    count: int,
    nodes: int = 1,
    minutes: int = 10,
    *,
    per_node: int = 1,
    serial: bool = True,
    cores: int = 0,
    gpus: int = 0,
    **rest: Any,
) -> Work:
    """Jobs that wait; of more than one node they are MPI jobs."""
    return Work(Shape(nodes, minutes, per_node, serial and nodes == 1, cores, gpus), count, **rest)


def queue(name: str = "batch", *bands: Band, **rest: Any) -> Queue:
    """A queue of ten launches; without bands: of up to 4 nodes, for 30 to 60 minutes."""
    return Queue(name=name, bands=bands or (Band(1, 4, 30, 60),), **{"max_launches": 10} | rest)


def policy(*queues: Queue, **rest: Any) -> Policy:
    """A policy of ten launches; without queues: of one."""
    return Policy(queues=queues or (queue(),), **{"max_launches": 10} | rest)


def launch(launch_id: int, nodes: int = 1, minutes: int = 60, state: str = "QUEUED", **rest: Any) -> Launch:
    """A launch that was recorded a minute ago."""
    values = {"queue": "batch", "create_time": NOW - 60} | rest
    return Launch(launch_id=launch_id, nodes=nodes, wall_minutes=minutes, state=state, **values)


def scene(*works: Work, launches: tuple[Launch, ...] = (), **rest: Any) -> Scene:
    """What there is."""
    values = {"now": NOW, "spare_minutes": SPARE, "memory": KNOWN} | rest
    return Scene(work=works, launches=launches, **values)


def sizes(found: Plan) -> list[tuple[int, int]]:
    """Nodes and minutes of the launches of a plan."""
    return [(planned.nodes, planned.minutes) for planned in found.launches]


def planned(rules: Policy, *works: Work, **rest: Any) -> list[tuple[int, int]]:
    """Nodes and minutes of the launches that are planned."""
    return sizes(plan(rules, scene(*works, **rest)))


def reasons(found: Plan) -> list[str]:
    """Why jobs must wait."""
    return [verdict.why for verdict in found.verdicts if not verdict.covered]
