"""Jobs as the store moves them: rows of the narrow table `job`, as plain objects."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from balsam.states import State

OWNER_KEY = 1
"""The owner of the site, among its users."""
MUTABLE = (
    "state",
    "needs",
    "unmet",
    "failed_parent",
    "session",
    "fence",
    "attempt",
    "tries",
    "restarts",
    "lost",
    "timeouts",
    "exit_code",
    "max_restarts",
    "priority",
    "num_nodes",
    "ranks_per_node",
    "node_packing_count",
    "wall_time_minutes",
    "application",
    "name",
    "workflow",
    "launch",
)
"""Columns of `job` that change, in the order of a row's snapshot."""

COLUMNS = ", ".join(("key", "job_id", "revision", "owner_key", *MUTABLE))
"""What is selected for a row."""

_mutable: Callable[[Row], tuple[object, ...]] = operator.attrgetter(*MUTABLE)


class Row:
    """A job as the store moves it: the columns of `job`."""

    __slots__ = ("before", "job_id", "key", "owner_key", "revision", *MUTABLE)

    key: int
    job_id: str
    revision: int
    owner_key: int
    state: int
    needs: int
    unmet: int
    failed_parent: int | None
    session: int | None
    fence: int
    attempt: int
    tries: int
    restarts: int
    lost: int
    timeouts: int
    exit_code: int | None
    max_restarts: int
    priority: int
    num_nodes: int
    ranks_per_node: int
    node_packing_count: int
    wall_time_minutes: int
    application: int | None
    name: str
    workflow: str
    launch: int | None

    def __init__(self, values: Sequence[Any]) -> None:
        self.before = values[4:]
        # In the order of `COLUMNS`; written out, as this is done for every job that moves.
        (
            self.key,
            self.job_id,
            self.revision,
            self.owner_key,
            self.state,
            self.needs,
            self.unmet,
            self.failed_parent,
            self.session,
            self.fence,
            self.attempt,
            self.tries,
            self.restarts,
            self.lost,
            self.timeouts,
            self.exit_code,
            self.max_restarts,
            self.priority,
            self.num_nodes,
            self.ranks_per_node,
            self.node_packing_count,
            self.wall_time_minutes,
            self.application,
            self.name,
            self.workflow,
            self.launch,
        ) = values

    def snapshot(self) -> tuple[object, ...]:
        """The values of `MUTABLE`."""
        return _mutable(self)

    @property
    def label(self) -> str:
        """How messages name the job: its name and the start of its id."""
        return job_label(self.name, self.job_id)


class Parent(Protocol):
    """What a child needs to know of its parent."""

    state: int
    session: int | None


def is_met(parent: Parent) -> bool:
    """Whether a parent holds its children no longer (one that a script still works on does)."""
    return parent.state == State.JOB_FINISHED and parent.session is None


def has_failed(parent: Parent) -> bool:
    """Whether a parent has ended without finishing; a failure that a script sets counts when the script has ended."""
    return parent.state == State.USER_KILLED or (parent.state == State.FAILED and parent.session is None)


def job_label(name: str, job_id: str) -> str:
    """How messages name a job: its name and the start of its id."""
    return f"{name or 'job'} ({job_id[:8]})"


def parent_label(label: str, state: int) -> str:
    """How a child's message names the parent that failed it."""
    return f"{label}, {State(state).name},"
