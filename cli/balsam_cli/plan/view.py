"""What `balsam plan` prints."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from balsam.convert import rfc3339
from balsam_cli.output import Block, Column, Lines, Listing, Record
from balsam_cli.plan.estimates import Estimate
from balsam_cli.plan.planning import Plan
from balsam_cli.plan.work import Kind, Work
from balsam_cli.text import age, count, local_time

_MOST_ROWS = 20

Estimates = Sequence[tuple[Kind, int, Estimate]]


def record(work: Work, estimates: Estimates, plans: Sequence[Plan], now: datetime.datetime) -> Record:
    """Everything as plain data; times are RFC 3339 in UTC."""
    return {
        "time": rfc3339(now),
        "jobs": work.total,
        "estimates": [one.record(kind, jobs) for kind, jobs, one in estimates],
        "plans": [
            {
                **one.record(),
                "finish_time": {name: rfc3339(_after(now, value)) for name, value in one.seconds.record().items()},
            }
            for one in plans
        ],
        "notes": notes(work, estimates, plans),
    }


def blocks(work: Work, estimates: Estimates, plans: Sequence[Plan], now: datetime.datetime) -> list[Block]:
    """Tables for people."""
    shown = [{"kind": kind, "jobs": jobs, "estimate": one} for kind, jobs, one in estimates[:_MOST_ROWS]]
    more = len(estimates) - len(shown)
    parts: list[Block] = [
        Listing(_ESTIMATE_COLUMNS, shown, f"{count(work.total, 'job')} to do"),
        Listing(_plan_columns(now), [{"plan": one} for one in plans], "Launches of so many nodes, one after the other"),
    ]
    lines = [f"{count(more, 'more kind')} of jobs {'is' if more == 1 else 'are'} in --json"] if more > 0 else []
    if lines or notes(work, estimates, plans):
        parts.append(Lines([*lines, *notes(work, estimates, plans)]))
    return parts


def notes(work: Work, estimates: Estimates, plans: Sequence[Plan]) -> list[str]:
    """What is to be known about how good it is."""
    found = []
    guessed = sum(jobs for _, jobs, one in estimates if not one.runs)
    if guessed:
        found.append(
            f"note: of {count(guessed, 'job')} fewer than 5 runs have been seen: counted on is half of their "
            "wall_time_minutes up to all of it"
        )
    late = sorted({kind.application for kind, _, one in estimates if one.runs and one.mean > 60 * kind.wall_minutes})
    if late:
        names = ", ".join(name or "jobs without application" for name in late)
        found.append(f"note: runs take longer than their wall_time_minutes, and may be cut off: {names}")
    if work.later:
        number = sum(work.later.values())
        found.append(
            f"note: {count(number, 'job')} wait for others, too many to look at each: they are taken to begin at once, "
            "and for the latest finish after all others"
        )
    nodes = max((kind.nodes for kind, _, _ in estimates), default=0)
    minutes = max((kind.wall_minutes for kind, _, _ in estimates), default=0)
    for one in plans:
        if one.never:
            found.append(
                f"note: {count(one.never, 'job')} never fit into launches of {count(one.nodes, 'node')}, or wait for "
                f"such: the largest asks for {count(nodes, 'node')}, the longest for {count(minutes, 'minute')}"
            )
        if one.is_cut:
            found.append(f"note: with {count(one.nodes, 'node')} it takes more than {one.launches.high:,.0f} launches")
    return found


def _length(seconds: float) -> str:
    return f"{seconds:.2g}s" if 0 < seconds < 10 else age(seconds)


def _spread(row: dict[str, Any]) -> str:
    one: Estimate = row["estimate"]
    return f"{_length(one.mean * one.low)} - {_length(one.mean * one.high)}"


_ESTIMATE_COLUMNS = [
    Column("APPLICATION", lambda row: row["kind"].application or "(none)", flexible=True),
    Column("NODES", lambda row: f"{row['kind'].nodes:,}", right=True),
    Column("JOBS", lambda row: f"{row['jobs']:,}", right=True),
    Column("A RUN TAKES", lambda row: _length(row["estimate"].mean), right=True),
    Column("LIKELY", _spread),
    Column("RUNS SEEN", lambda row: f"{row['estimate'].runs:,}", right=True),
    Column("FROM", lambda row: row["estimate"].source),
]


def _plan_columns(now: datetime.datetime) -> list[Column]:
    def finish(row: dict[str, Any]) -> str:
        if not row["plan"].launches.high and row["plan"].never:
            return "never"
        return local_time(_after(now, row["plan"].seconds.likely))[:16]

    def spread(row: dict[str, Any]) -> str:
        return f"{age(row['plan'].seconds.low)} - {age(row['plan'].seconds.high)}"

    def hours(row: dict[str, Any]) -> str:
        span = row["plan"].node_hours
        return f"{_number(span.likely)} ({_number(span.low)} - {_number(span.high)})"

    return [
        Column("NODES", lambda row: f"{row['plan'].nodes:,}", right=True),
        Column("LAUNCHES", lambda row: f"{row['plan'].launches.likely:,.0f}", right=True),
        Column("FINISHES", finish),
        Column("IN", lambda row: age(row["plan"].seconds.likely), right=True),
        Column("LIKELY", spread),
        Column("NODE-HOURS", hours),
        Column("BUSY", lambda row: f"{row['plan'].busy:.0%}", right=True),
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _after(now: datetime.datetime, seconds: float) -> datetime.datetime:
    return now + datetime.timedelta(seconds=seconds)
