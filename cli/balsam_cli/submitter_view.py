"""What `balsam service` would do, and what it says of what it does not do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from balsam_cli.output import Column, Lines, Listing, Record, printer
from balsam_scheduler.batch import rounds

if TYPE_CHECKING:
    from balsam.client import Client
    from balsam_scheduler.batch.planning import Plan
    from balsam_scheduler.batch.waiting import Verdict

_PLANNED = (
    Column("QUEUE", lambda record: str(record["queue"]) or "(default)"),
    Column("PROJECT", lambda record: str(record["project"])),
    Column("NODES", lambda record: str(record["nodes"]), right=True),
    Column("MINUTES", lambda record: str(record["wall_minutes"]), right=True),
    Column("MODE", lambda record: str(record["job_mode"])),
    Column("JOBS", lambda record: f"{record['jobs']:,}", right=True),
    Column("WHY", lambda record: str(record["why"]), flexible=True),
)
_OTHERS = (
    Column("JOBS", lambda record: f"{record['jobs']:,}", right=True),
    Column("NODES", lambda record: str(record["nodes"]), right=True),
    Column("MINUTES", lambda record: str(record["minutes"]), right=True),
    Column("WHY", lambda record: str(record["why"]), flexible=True),
)


def show(store: Client, as_json: bool) -> None:
    """Prints what a round would do now.

    Raises:
        BalsamError: the policy is not valid, or the job store is away.
    """
    plan = rounds.dry_round(store, time.time())
    record = as_record(plan)
    blocks: list[Listing | Lines] = []
    for title, columns, name in (
        ("Would be submitted", _PLANNED, "submit"),
        ("Has a launch or a launcher", _OTHERS, "covered"),
        ("Must wait", _OTHERS, "waiting"),
    ):
        if record[name]:
            blocks.append(Listing(columns, record[name], title))
    notes = [Lines(plan.notes)] if plan.notes else []
    printer(as_json).one(record, *(blocks or [Lines(["No job waits; nothing would be submitted."])]), *notes)


def as_record(plan: Plan) -> Record:
    """A plan as plain data."""
    return {
        "submit": [
            {
                "queue": planned.queue.name,
                "project": planned.queue.project,
                "nodes": planned.nodes,
                "wall_minutes": planned.minutes,
                "job_mode": planned.queue.job_mode,
                "wf_filter": planned.queue.wf_filter,
                "sched_flags": planned.queue.sched_flags,
                "jobs": planned.jobs,
                "why": planned.why,
            }
            for planned in plan.launches
        ],
        "covered": [_verdict(one) for one in plan.verdicts if one.covered],
        "waiting": [_verdict(one) for one in plan.verdicts if not one.covered],
        "notes": list(plan.notes),
        "breakers": [
            {"queue": queue, "failures": breaker.failures, "until": _time(breaker.until), "why": breaker.why}
            for queue, breaker in plan.breakers.items()
        ],
    }


def _verdict(verdict: Verdict) -> Record:
    shape = verdict.work.shape
    return {
        "jobs": verdict.jobs,
        "nodes": shape.nodes,
        "minutes": shape.minutes,
        "per_node": shape.per_node,
        "serial": shape.serial,
        "workflow": verdict.work.workflow,
        "never": verdict.never,
        "why": verdict.why,
    }


def _time(time: float) -> str:
    import datetime

    from balsam.convert import rfc3339

    return rfc3339(datetime.datetime.fromtimestamp(time, datetime.UTC))


def waiting_lines(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Why jobs must wait -> a line that says so, with how many they are."""
    from balsam_cli.text import count

    jobs: dict[str, int] = {}
    for verdict in verdicts:
        if not verdict.covered:
            jobs[verdict.why] = jobs.get(verdict.why, 0) + verdict.jobs
    return {why: f"{count(number, 'job')} must wait: {why}" for why, number in jobs.items()}
