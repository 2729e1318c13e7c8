"""Why a job is not running, and the smallest change that would start it. Plain values."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """The first condition that holds a job.

    Attributes:
        condition: its stable name; docs/why.md lists them.
        why: for people, to follow the job's name and state.
        fix: a command to type; empty: there is none, or nothing is to be done.
        advice: what else to do or to look at.
        details: a line for each launcher or parent that has to do with it.
        notes: what else should be known.
        follow: id of the job that it waits for, or waited for; empty: none.
        cause: why that job is not running.
        cause_name: how that job is called.
    """

    condition: str
    why: str
    fix: str = ""
    advice: str = ""
    details: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    follow: str = ""
    cause: Verdict | None = None
    cause_name: str = ""

    def because(self, name: str, cause: Verdict) -> Verdict:
        """The same, with why the job that it waits for is not running: what starts that one starts this one."""
        fix, advice = (cause.fix, cause.advice) if cause.fix or not self.fix else (self.fix, self.advice)
        advice = advice if fix else advice or self.advice
        return replace(self, cause=cause, cause_name=name, fix=fix, advice=advice)

    def record(self) -> dict[str, Any]:
        """As plain data for `--json`."""
        cause = {"job": self.cause_name, **self.cause.record()} if self.cause else None
        return {
            "condition": self.condition,
            "why": self.why,
            "fix": self.fix,
            "advice": self.advice,
            "details": list(self.details),
            "notes": list(self.notes),
            "cause": cause,
        }


def command(*words: object) -> str:
    """A command of ours, to be typed in a shell."""
    return shlex.join(["balsam", *map(str, words)])


def modify(job_id: str, field: str, value: object) -> str:
    """The command that changes a field of a job."""
    return command("modify", "jobs", job_id, "--attr", field, "--value", value)
