"""Flux. Sources: flux-batch(1), flux-jobs(1) and flux-job(1) of flux-core 0.45 to 0.60."""

from __future__ import annotations

import re
from collections.abc import Sequence

from balsam_scheduler.batch.answers import Answer, CannotTell, Gone, Submission, Ticket
from balsam_scheduler.batch.calls import Call, Output
from balsam_scheduler.batch.systems.commanded import Commanded, answer_for, one_of

_STATES = {
    **dict.fromkeys(("NEW", "DEPEND", "PRIORITY", "SCHED"), "QUEUED"),
    **dict.fromkeys(("RUN", "CLEANUP"), "RUNNING"),
    **dict.fromkeys(("COMPLETED", "FAILED", "TIMEOUT"), "ENDED"),
    "CANCELED": "CANCELLED",
}
"""status -> state of a launch."""

_JOB_ID = re.compile(r"^([ƒf][1-9A-HJ-NP-Za-km-z]+|\d+)$", re.MULTILINE)
_UNKNOWN = re.compile(r"JobID (\S+) unknown|unknown job ?id:? (\S+)", re.IGNORECASE)
_FORMAT = "{id.f58}|{status}|{name}"
_OVER = ("job is inactive", "unknown job", "unknown id")


class Flux(Commanded):
    """Ids begin with ƒ, or with f where the locale has no such letter; both mean the same."""

    name = "flux"

    def submit_call(self, wanted: Submission) -> Call:
        """The options here win over those in the script."""
        output = str(wanted.output).replace("{", "{{").replace("}", "}}")  # {{id}} and the like are replaced
        options = (f"--job-name={wanted.name}", f"--output={output}")
        return Call(("flux", "batch", *wanted.flags, *options, str(wanted.script)))

    def submitted(self, output: Output) -> str:
        """``ƒ2kWzC5Xj``."""
        found = _JOB_ID.search(output.out)
        return _plain(found[1]) if found else ""

    def query_call(self, tickets: Sequence[Ticket]) -> Call:
        """-n: no header."""
        return Call(("flux", "jobs", "-n", "-o", _FORMAT, *(ticket.job_id for ticket in tickets)))

    def read_query(self, tickets: Sequence[Ticket], output: Output) -> dict[Ticket, Answer]:
        """``ƒ2kWzC5Xj|RUN|name`` for those that are there, ``JobID ƒ2kWzC5Xk unknown`` for the others."""
        rows = {row[0]: row for row in _rows(output)}
        absent = {_plain(first or second) for first, second in _UNKNOWN.findall(output.err + output.out)}
        answers: dict[Ticket, Answer] = {}
        for ticket in tickets:
            row = rows.get(_plain(ticket.job_id))
            if row:
                answers[ticket] = answer_for(ticket, row[2], _STATES.get(row[1]), row[1], _detail(row[1]))
            else:
                answers[ticket] = Gone() if _plain(ticket.job_id) in absent else CannotTell(output.complaint)
        return answers

    def find_call(self, name: str) -> Call:
        """-a: those that have ended too."""
        return Call(("flux", "jobs", "-n", "-a", "-o", _FORMAT, f"--name={name}"))

    def read_find(self, name: str, output: Output) -> Answer:
        """The same lines."""
        if output.code:
            return CannotTell(output.complaint)
        return one_of(
            answer_for(Ticket(name, job_id), found, _STATES.get(status), status, _detail(status))
            for job_id, status, found in _rows(output)
        )

    def cancel_call(self, job_id: str) -> Call:
        """Ends a job, queued or running."""
        return Call(("flux", "job", "cancel", job_id))

    def is_over(self, output: Output) -> bool:
        """A job that has ended, or is not known any more."""
        return any(text in (output.err + output.out).lower() for text in _OVER)


def _plain(job_id: str) -> str:
    return f"f{job_id[1:]}" if job_id.startswith("ƒ") else job_id


def _rows(output: Output) -> list[list[str]]:
    parts = [line.strip().split("|") for line in output.out.splitlines()]
    return [[_plain(row[0]), *row[1:]] for row in parts if len(row) == 3]


def _detail(status: str) -> str:
    return status if status in ("FAILED", "TIMEOUT", "DEPEND") else ""
