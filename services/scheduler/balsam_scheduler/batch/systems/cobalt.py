"""Cobalt. Sources: the manual pages of qsub, qstat and qdel of Cobalt 1.0, as on ALCF's Theta."""

from __future__ import annotations

import re
from collections.abc import Sequence

from balsam_scheduler.batch.answers import Answer, CannotTell, Gone, InVain, Submission, Ticket
from balsam_scheduler.batch.calls import Call, Output
from balsam_scheduler.batch.systems.commanded import Commanded, answer_for, one_of

_STATES = {
    **dict.fromkeys(("queued", "hold", "user_hold", "admin_hold", "dep_hold", "dep_fail", "maxrun_hold"), "QUEUED"),
    **dict.fromkeys(("starting", "running", "exiting", "killing", "preempting", "preempted"), "RUNNING"),
}
"""State -> state of a launch. Jobs that have ended are not listed."""

_HELD = ("hold", "user_hold", "admin_hold", "dep_fail")
"""States that last until somebody does something."""

_JOB_ID = re.compile(r"^(\d+)$", re.MULTILINE)
_HEADER = ("--header", "JobID:JobName:State")


class Cobalt(Commanded):
    """The script must be executable; #COBALT lines in it are options."""

    name = "cobalt"

    def submit_call(self, wanted: Submission) -> Call:
        """The time and the number of nodes must stand here where the script does not name them."""
        shape = ("-t", str(wanted.wall_minutes), "-n", str(wanted.nodes))
        where = (*(("-q", wanted.queue) if wanted.queue else ()), *(("-A", wanted.project) if wanted.project else ()))
        files = ("-o", str(wanted.output), "-e", str(wanted.output))
        options = (*shape, *where, "--mode", "script", "--jobname", wanted.name, *files)
        return Call(("qsub", *options, *wanted.flags, str(wanted.script)))

    def submitted(self, output: Output) -> str:
        """A number on a line of its own, after notes such as where the project was taken from."""
        found = _JOB_ID.findall(output.out)
        return found[-1] if found else ""

    def query_call(self, tickets: Sequence[Ticket]) -> Call:
        """A table of three columns."""
        return Call(("qstat", *_HEADER, *(ticket.job_id for ticket in tickets)))

    def read_query(self, tickets: Sequence[Ticket], output: Output) -> dict[Ticket, Answer]:
        """Who is not in the table has ended. If nobody is, qstat ends with 1 and says nothing."""
        if _has_failed(output):
            return dict.fromkeys(tickets, CannotTell(output.complaint))
        rows = {row[0]: row for row in _rows(output)}
        return {ticket: _answer(ticket, rows.get(ticket.job_id)) for ticket in tickets}

    def find_call(self, name: str) -> Call:
        """The whole table: qstat does not look for names."""
        return Call(("qstat", *_HEADER))

    def read_find(self, name: str, output: Output) -> Answer:
        """The lines with the name."""
        if _has_failed(output):
            return CannotTell(output.complaint)
        return one_of(_answer(Ticket(name, row[0]), row) for row in _rows(output))

    def in_vain(self, reason: str) -> InVain | None:
        """Holds, and a dependency that failed."""
        return InVain() if reason.partition(":")[0] in _HELD else None

    def cancel_call(self, job_id: str) -> Call:
        """Ends a job, queued or running."""
        return Call(("qdel", job_id))

    def is_over(self, output: Output) -> bool:
        """A job that is not known any more."""
        return "not found" in output.err + output.out or "No jobs" in output.err + output.out


def _has_failed(output: Output) -> bool:
    """An empty table ends with 1 and without a word. A command that was killed says nothing either."""
    return output.code not in (0, 1) or bool(output.code and output.err.strip())


def _rows(output: Output) -> list[list[str]]:
    parts = [line.split() for line in output.out.splitlines()]
    return [row for row in parts if len(row) == 3 and row[0].isdigit()]


def _answer(ticket: Ticket, row: Sequence[str] | None) -> Answer:
    if row is None:
        return Gone()
    state = _STATES.get(row[2])
    return answer_for(ticket, row[1], state, row[2], row[2] if state == "QUEUED" and row[2] != "queued" else "")
