"""What `balsam plan` does: reads, estimates, runs the launches in thought, prints."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from balsam.errors import NotFound, SiteError
from balsam.settings import Settings
from balsam.site import Site
from balsam_cli import access, output, selection
from balsam_cli.plan import collecting, view
from balsam_cli.plan.estimates import estimate
from balsam_cli.plan.planning import Asked, most_common, plan, usual_sizes

_NOTHING = "nothing is left to run"


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        nodes: sizes of launches; none: the usual ones.
        minutes: how long each lasts; None: without a limit.
        wait_minutes: in the queue before each: the least and the most.
        job_mode: of their launchers.
        workflow: of these jobs: exact, or a glob; None: all.
    """

    nodes: Sequence[int]
    minutes: float | None
    wait_minutes: tuple[float, float]
    job_mode: str
    workflow: str | None


def show(question: Question, as_json: bool) -> None:
    """Prints the answer.

    Raises:
        NotFound: there is no job in the workflow.
        BalsamError: the jobs cannot be read.
    """
    store = access.open_store()
    work = collecting.find_work(store, question.workflow)
    if not work.total and question.workflow is not None:
        conditions = selection.job_conditions(workflow=question.workflow)
        if not selection.count_jobs(store, conditions):
            raise NotFound(selection.why_none(store, None, question.workflow))
    now = datetime.datetime.now(datetime.UTC)
    if not work.total:
        output.printer(as_json).one(view.record(work, [], [], now), output.Lines([_NOTHING]))
        return
    times = collecting.find_times(store, work)
    estimates = {kind: estimate(times, kind) for kind in work.kinds()}
    margin = _margin_seconds(store.site) / 60
    plans = [
        plan(work, estimates, Asked(nodes, question.minutes, question.wait_minutes, margin, question.job_mode))
        for nodes in question.nodes or usual_sizes(work, question.job_mode)
    ]
    ordered = most_common(work, estimates)
    output.printer(as_json).one(view.record(work, ordered, plans, now), *view.blocks(work, ordered, plans, now))


def _margin_seconds(site: Site) -> float:
    """A launcher stops so long before its launch ends; of somebody else's site nobody knows, but what is usual."""
    try:
        return site.settings.stop_margin_seconds
    except SiteError:
        return Settings().stop_margin_seconds
