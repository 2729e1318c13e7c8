"""What is still to be done: jobs that are alike together, and those that others wait for one by one. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from balsam.states import State

KIND_FIELDS = ("priority", "num_nodes", "wall_time_minutes", "ranks_per_node", "node_packing_count", "application")
"""Fields of a job that make its kind."""
DEFAULTS: Mapping[str, Any] = {"priority": 0, "application": ""}  # of the others: 1
TO_RUN = frozenset({"CREATED", "READY", "STAGED_IN", "PREPROCESSED", "RESTART_READY", "RUN_TIMEOUT"})
"""States of jobs that a launcher runs next, or after a step."""
AT_THE_END = frozenset({"RUN_DONE", "POSTPROCESSED", "RUN_ERROR"})
"""States of jobs that need no node any more, as far as can be foreseen."""
MOST_KINDS = 200
"""With more, jobs of about the same wall time are taken for alike."""


class Kind(NamedTuple):
    """Jobs that are alike. In their order launchers take them, the least first."""

    before: tuple[int, int, int]
    """Priority, nodes and wall time, each negative."""
    per_node: int
    """So many share a node; more than 1 for serial jobs only."""
    serial: bool
    application: str

    @property
    def nodes(self) -> int:
        """Of a run."""
        return -self.before[1]

    @property
    def wall_minutes(self) -> int:
        """How long a run may take, by what its job says."""
        return -self.before[2]

    def width(self, job_mode: str) -> float:
        """Nodes that it takes in a launcher of a mode, where ``mpi`` gives each job whole nodes."""
        return float(self.nodes) if job_mode == "mpi" else self.nodes / self.per_node


def kind_of(job: Mapping[str, Any]) -> Kind:
    """The kind of a job, from the values of its fields; those that are absent have their defaults."""
    priority, nodes, wall, ranks, packing, application = (job.get(name, DEFAULTS.get(name, 1)) for name in KIND_FIELDS)
    serial = nodes == ranks == 1
    return Kind((-priority, -nodes, -wall), packing if serial else 1, serial, application)


@dataclass
class Task:
    """A job that waits, or that others wait for.

    Attributes:
        kind: its kind.
        state: its state, by name.
        children: places of those that wait for it.
        unmet: how many parents have not finished.
    """

    kind: Kind
    state: str
    children: list[int] = field(default_factory=list)
    unmet: int = 0


@dataclass(frozen=True)
class Work:
    """All that is to be done.

    Attributes:
        ready: kind -> jobs that wait for nobody, those of `tasks` not counted.
        running: kind -> jobs that run now, those of `tasks` not counted.
        tasks: jobs that wait for others, and those that they wait for.
        later: kind -> jobs that wait for others, where they are too many to look at each.
    """

    ready: Mapping[Kind, int]
    running: Mapping[Kind, int] = field(default_factory=dict)
    tasks: Sequence[Task] = ()
    later: Mapping[Kind, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Jobs that have not ended, those that run included."""
        return sum(map(sum, (self.ready.values(), self.running.values(), self.later.values()))) + len(self.tasks)

    def kinds(self) -> Counter[Kind]:
        """Kind -> how many jobs there are of it, those that run included."""
        found: Counter[Kind] = Counter(task.kind for task in self.tasks)
        for part in (self.ready, self.running, self.later):
            found.update(part)
        return found


def work_of(groups: Iterable[tuple[tuple[Any, ...], int]], waiting: Sequence[Mapping[str, Any]] | None) -> Work:
    """What is to be done.

    Args:
        groups: values of ``state`` and `KIND_FIELDS`, with the number of jobs that have them.
        waiting: jobs that wait for parents, and those parents that have not ended, each with `job_id`, `state`,
            `parents` and `KIND_FIELDS`; None: they are too many to look at each.
    """
    ready, running, later = Counter[Kind](), Counter[Kind](), Counter[Kind]()
    for (state, *values), count in groups:
        kind = kind_of(dict(zip(KIND_FIELDS, values, strict=True)))
        if state in TO_RUN:
            ready[kind] += count
        elif state == State.RUNNING.name:
            running[kind] += count
        elif state == State.AWAITING_PARENTS.name and waiting is None:
            later[kind] += count
    tasks = _tasks(waiting or ())
    for task in tasks:
        part = ready if task.state in TO_RUN else running if task.state == State.RUNNING.name else None
        if part is not None:
            part[task.kind] = max(0, part[task.kind] - 1)  # jobs may have moved between two questions
    work = Work(+ready, +running, tasks, +later)
    return _coarse(work) if len(work.kinds()) > MOST_KINDS else work


def _tasks(jobs: Sequence[Mapping[str, Any]]) -> list[Task]:
    jobs = [job for job in jobs if job.get("state", "") not in AT_THE_END]
    places = {job["job_id"]: place for place, job in enumerate(jobs)}
    tasks = [Task(kind_of(job), job.get("state", "")) for job in jobs]
    for place, job in enumerate(jobs):
        if tasks[place].state != State.AWAITING_PARENTS.name:
            continue
        for parent in job.get("parents", ()):
            other = places.get(parent)
            if other is not None:
                tasks[other].children.append(place)
                tasks[place].unmet += 1
    return tasks


def _coarse(work: Work) -> Work:
    """The same with fewer kinds: wall times are rounded up, as far as that takes."""
    kinds, step = list(work.kinds()), 1.1
    while len({_rounded(kind, step) for kind in kinds}) > MOST_KINDS and step < 100:
        step *= 1.5
    new = {kind: _rounded(kind, step) for kind in kinds}
    parts = []
    for part in (work.ready, work.running, work.later):
        joined = Counter[Kind]()
        for kind, count in part.items():
            joined[new[kind]] += count
        parts.append(joined)
    tasks = [Task(new[task.kind], task.state, task.children, task.unmet) for task in work.tasks]
    return Work(parts[0], parts[1], tasks, parts[2])


def _rounded(kind: Kind, step: float) -> Kind:
    minutes = kind.wall_minutes
    if minutes > 1:
        minutes = math.ceil(step ** math.ceil(math.log(minutes, step) - 1e-9))
    return kind._replace(before=(*kind.before[:2], -minutes))
