"""Asks the job store for what is to be done, and how long runs have taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from balsam.client import Client
from balsam.query import AllOf, Node, Test
from balsam.run_times import RunTimes, sample
from balsam.states import END, State
from balsam_cli import selection
from balsam_cli.plan.work import AT_THE_END, KIND_FIELDS, Work, work_of

MOST_WAITING = 50_000
"""Jobs that wait for others and are looked at one by one."""
_PAGE = 2000
_AT_ONCE = 1000
_OVER = tuple(state.name for state in sorted(END))


def find_work(store: Client, workflow: str | None) -> Work:
    """What is to be done: of a workflow (exact, or a glob), or all."""
    conditions = selection.job_conditions(workflow=workflow, states=[s.name for s in State if s not in END])
    where = AllOf(tuple(conditions))
    groups = store.jobs.groups(where, ("state", *KIND_FIELDS))
    awaiting = State.AWAITING_PARENTS.name
    count = sum(number for (state, *_), number in groups if state == awaiting)
    waiting = None
    if count <= MOST_WAITING:
        waiting = _read(store, [*conditions, Test("state", (), "EXACT", (awaiting,))]) if count else []
        waiting += _parents(store, waiting)
    return work_of(groups, waiting)


def _read(store: Client, conditions: Sequence[Node]) -> list[dict[str, Any]]:
    fields = ("state", "parents", *KIND_FIELDS)
    pages = store.jobs.pages(AllOf(tuple(conditions)), page_size=_PAGE, fields=fields)
    return [job for page in pages for job in page]


def _parents(store: Client, waiting: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parents of jobs that wait, as far as they have not ended and are not among them."""
    known = {job["job_id"] for job in waiting}
    wanted = list(dict.fromkeys(parent for job in waiting for parent in job.get("parents", ()) if parent not in known))
    found: list[dict[str, Any]] = []
    for first in range(0, len(wanted), _AT_ONCE):
        ids = Test("job_id", (), "IN", tuple(wanted[first : first + _AT_ONCE]))
        fields = ("state", *KIND_FIELDS)
        for page in store.jobs.pages(ids, page_size=_AT_ONCE, fields=fields):
            found += [job for job in page if job.get("state") not in (*_OVER, *AT_THE_END)]
    return found


def find_times(store: Client, work: Work) -> RunTimes:
    """How long runs have taken, of the applications of what is to be done."""
    return sample(store, [kind.application for kind in work.kinds()])
