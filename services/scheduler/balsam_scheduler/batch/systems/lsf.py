"""LSF. Sources: the command reference of IBM Spectrum LSF 10.1: bsub, bjobs, bkill."""

from __future__ import annotations

import re
from collections.abc import Sequence

from balsam_scheduler.batch.answers import Answer, CannotTell, Gone, InVain, Submission, Ticket
from balsam_scheduler.batch.calls import Call, Output
from balsam_scheduler.batch.systems.commanded import Commanded, answer_for, one_of

_STATES = {
    **dict.fromkeys(("PEND", "PROV", "PSUSP", "WAIT"), "QUEUED"),
    **dict.fromkeys(("RUN", "USUSP", "SSUSP"), "RUNNING"),
    **dict.fromkeys(("DONE", "EXIT"), "ENDED"),
}
"""STAT -> state of a launch. UNKWN and ZOMBI are not there: LSF itself cannot tell."""

_SUBMITTED = re.compile(r"Job <(\d+)> is submitted")
_NOT_FOUND = re.compile(r"Job <([^>]+)> is not found")
_OVER = ("No matching job found", "already finished", "is not found")
_COLUMNS = ("-a", "-noheader", "-o", "jobid stat job_name delimiter='|'")


class Lsf(Commanded):
    """Finished jobs are listed for CLEAN_PERIOD (one hour)."""

    name = "lsf"

    def submit_call(self, wanted: Submission) -> Call:
        """#BSUB lines count only in what bsub reads."""
        options = ("-J", wanted.name, "-o", str(wanted.output))
        return Call(("bsub", *wanted.flags, *options), wanted.text)

    def submitted(self, output: Output) -> str:
        """``Job <123> is submitted to queue <normal>.``"""
        found = _SUBMITTED.search(output.out)
        return found[1] if found else ""

    def query_call(self, tickets: Sequence[Ticket]) -> Call:
        """Three columns, those that have ended too."""
        return Call(("bjobs", *_COLUMNS, *(ticket.job_id for ticket in tickets)))

    def read_query(self, tickets: Sequence[Ticket], output: Output) -> dict[Ticket, Answer]:
        """``123|RUN|name`` for those that are there, ``Job <124> is not found`` for the others."""
        rows = {row[0]: row for row in _rows(output)}
        absent = set(_NOT_FOUND.findall(output.err + output.out))
        answers: dict[Ticket, Answer] = {}
        for ticket in tickets:
            row = rows.get(ticket.job_id)
            if row:
                answers[ticket] = answer_for(ticket, row[2], _STATES.get(row[1]), row[1], _detail(row[1]))
            else:
                answers[ticket] = Gone() if ticket.job_id in absent else CannotTell(output.complaint)
        return answers

    def find_call(self, name: str) -> Call:
        """The same columns."""
        return Call(("bjobs", *_COLUMNS, "-J", name))

    def read_find(self, name: str, output: Output) -> Answer:
        """The same lines."""
        rows = [row for row in _rows(output) if row[2] == name]
        if output.code and not rows and name not in _NOT_FOUND.findall(output.err + output.out):
            return CannotTell(output.complaint)
        return one_of(
            answer_for(Ticket(name, job_id), found, _STATES.get(state), state, _detail(state))
            for job_id, state, found in rows
        )

    def in_vain(self, reason: str) -> InVain | None:
        """A job that was suspended while it was pending waits until it is resumed."""
        return InVain() if reason.partition(":")[0] == "PSUSP" else None

    def cancel_call(self, job_id: str) -> Call:
        """Ends a job, queued or running."""
        return Call(("bkill", job_id))

    def is_over(self, output: Output) -> bool:
        """A job that has ended, or is not known any more."""
        return any(text in output.err + output.out for text in _OVER)


def _rows(output: Output) -> list[list[str]]:
    parts = [line.strip().split("|") for line in output.out.splitlines()]
    return [row for row in parts if len(row) == 3 and row[0].isdigit()]


def _detail(state: str) -> str:
    return state if state in ("EXIT", "PSUSP") else ""
