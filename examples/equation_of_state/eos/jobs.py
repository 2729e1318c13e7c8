"""How the running applications of the campaign add jobs to it."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from typing import Any

from balsam.launcher.dag import BalsamJob, add_dependency

UNIVERSAL = "universal"
"""Name of the MPI job that waits for the last fit of every metal."""


def require(job: BalsamJob | None) -> BalsamJob:
    """The job that this process runs for; ends the process where there is none."""
    if job is None:
        sys.exit("this program runs as a job of Balsam: start the campaign with run.py")
    return job


def add_round(job: BalsamJob, metal: str, number: int, volumes: Sequence[float]) -> BalsamJob:
    """Adds one scan below the running `job`: a job for each volume [Å³], and the fit that waits for them.

    The universal curve, which waits for `job`, then waits for the new fit too. That is linked before `job`
    ends, so there is no moment at which all parents of the curve have finished while a metal is not done.
    """
    jobs = [
        _below(job, f"volume-{metal}-{number}-{i}", "volume", f"{metal} {volume}", [job], metal=metal, round=number)
        for i, volume in enumerate(volumes)
    ]
    fit = _below(job, f"fit-{metal}-{number}", "fit", "", [job, *jobs], metal=metal, round=number)
    BalsamJob.objects.bulk_create([*jobs, fit])
    universal = job.get_child_by_name(UNIVERSAL)
    if str(fit.job_id) not in universal.get_parents_by_id():
        add_dependency(fit, universal)
    return fit


def _below(
    job: BalsamJob, name: str, application: str, args: str, parents: Sequence[BalsamJob], **data: Any
) -> BalsamJob:
    """A serial job of the same workflow, packed on the nodes like the running one.

    Its id follows from the running job's and its name: should that be run again after a lost launcher, it
    adds the same jobs, and Balsam makes each of them once.
    """
    return BalsamJob(
        job_id=str(uuid.uuid5(uuid.UUID(str(job.job_id)), name)),
        name=name,
        workflow=job.workflow,
        application=application,
        args=args,
        parents=[parent.job_id for parent in parents],
        node_packing_count=job.node_packing_count,
        environ_vars=job.environ_vars,
        data=data,
    )
