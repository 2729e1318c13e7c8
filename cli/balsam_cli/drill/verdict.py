"""Whether a drill went as promised: what the runs say beside what the job store says. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from balsam_cli.drill.witness import Witness
from balsam_cli.text import count

_SHOWN = 5


@dataclass(frozen=True)
class Job:
    """A job of the drill, by both accounts.

    Attributes:
        name: its name.
        state: where the job store says that it stands.
        attempt: the attempt that the job store counts as the last.
        leased: whether somebody still holds it.
        entered: every state of its history.
        witness: what its runs have said.
    """

    name: str
    state: str
    attempt: int
    leased: bool
    entered: Sequence[str]
    witness: Witness


@dataclass(frozen=True)
class Point:
    """One promise, and whether it was kept."""

    check: str
    kept: bool
    found: str


def points(jobs: Sequence[Job], expected: int) -> list[Point]:
    """What is promised of jobs, point by point."""
    return [
        _none("none lost", "recorded", [] if len(jobs) == expected else [f"{len(jobs):,} of {expected:,}"], expected),
        _none(
            "each finished", "finished", [f"{j.name}: {j.state}" for j in jobs if j.state != "JOB_FINISHED"], len(jobs)
        ),
        _none("each ran to its end", "say so themselves", [j.name for j in jobs if not j.witness.ended], len(jobs)),
        _none("recorded exactly once", "with one RUN_DONE and one JOB_FINISHED", _not_once(jobs), len(jobs)),
        _none(
            "no two runs at a time", "held their lock alone", [j.name for j in jobs if j.witness.overlapping], len(jobs)
        ),
        _none("each attempt began once", "in rising order", _not_rising(jobs), len(jobs)),
        _none("the right attempt counts", "where the recorded attempt ended", _wrong_attempt(jobs), len(jobs)),
        _none("no lease left", "held by nobody", [j.name for j in jobs if j.leased], len(jobs)),
    ]


def _none(check: str, good: str, bad: Collection[str], total: int) -> Point:
    if not bad:
        return Point(check, True, f"{count(total, 'job')} {good}")
    shown = ", ".join(sorted(bad)[:_SHOWN]) + (" and more" if len(bad) > _SHOWN else "")
    return Point(check, False, f"not so for {len(bad):,}: {shown}")


def _not_once(jobs: Sequence[Job]) -> list[str]:
    return [
        f"{job.name}: {list(job.entered).count('RUN_DONE')} and {list(job.entered).count('JOB_FINISHED')}"
        for job in jobs
        if (list(job.entered).count("RUN_DONE"), list(job.entered).count("JOB_FINISHED")) != (1, 1)
    ]


def _not_rising(jobs: Sequence[Job]) -> list[str]:
    return [
        f"{job.name}: {job.witness.begun}" for job in jobs if list(job.witness.begun) != sorted({*job.witness.begun})
    ]


def _wrong_attempt(jobs: Sequence[Job]) -> list[str]:
    return [
        f"{job.name}: {job.attempt} recorded, {job.witness.ended} ended"
        for job in jobs
        if job.attempt not in job.witness.ended
    ]


def begun_again(jobs: Sequence[Job]) -> int:
    """Jobs that were begun more than once: their launcher was killed in between, which is allowed."""
    return sum(len(job.witness.begun) > 1 for job in jobs)
