"""PBS: PBS Professional (OpenPBS) and Torque. Sources: qsub(1B), qstat(1B), qselect(1B), qdel(1B) of both.

``qstat -f`` is plain text in both, while ``-x`` is history in the one and XML in the other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from balsam_scheduler.batch.answers import Answer, CannotTell, Gone, InVain, Known, Submission, Ticket
from balsam_scheduler.batch.calls import Call, Output
from balsam_scheduler.batch.systems.commanded import Commanded, answer_for

_STATES = {
    **dict.fromkeys("QHWTMB", "QUEUED"),
    **dict.fromkeys("RESU", "RUNNING"),
    **dict.fromkeys("CFX", "ENDED"),
}
"""job_state -> state of a launch. C is of Torque; F, M, U and X are of PBS Professional."""

_HELD = "held"
"""Of a job in state H: its comment may be of the time before."""

_JOB_ID = re.compile(r"^(\d[^\s.]*(?:\.\S+)?)\s*$", re.MULTILINE)
_ABSENT = re.compile(r"Unknown Job Id(?: Error)? (\S+)|qstat: (\S+) Job has finished")
_BLOCK = re.compile(r"^Job Id: (\S+)\n(.*?)(?=^Job Id: |\Z)", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^ {4}(\w+) = (.*)$", re.MULTILINE)
_OVER = ("Unknown Job Id", "Job has finished", "invalid state for job", "Request invalid for state")


class Pbs(Commanded):
    """Ids are compared by what stands before the first dot: the name of the server may be written in several ways."""

    name = "pbs"
    longest_name = 15
    """POSIX demands so many characters, and Torque and old versions of PBS take no more."""

    def submit_call(self, wanted: Submission) -> Call:
        """The options here win over those in the script."""
        options = ("-N", wanted.name, "-j", "oe", "-o", str(wanted.output))
        return Call(("qsub", *wanted.flags, *options, str(wanted.script)))

    def submitted(self, output: Output) -> str:
        """``123.server``."""
        found = _JOB_ID.search(output.out)
        return found[1] if found else ""

    def query_call(self, tickets: Sequence[Ticket]) -> Call:
        """All attributes: the only form that both print alike."""
        return Call(("qstat", "-f", *(ticket.job_id for ticket in tickets)))

    def read_query(self, tickets: Sequence[Ticket], output: Output) -> dict[Ticket, Answer]:
        """Blocks for those that are there; of the others one line each, and an exit code that is not 0."""
        blocks = {_number(job_id): dict(_FIELD.findall(text)) for job_id, text in _BLOCK.findall(output.out)}
        absent = {_number(first or second) for first, second in _ABSENT.findall(output.err)}
        answers: dict[Ticket, Answer] = {}
        for ticket in tickets:
            number = _number(ticket.job_id)
            if number in blocks:
                answers[ticket] = _answer(ticket, blocks[number])
            else:
                answers[ticket] = Gone() if number in absent else CannotTell(output.complaint)
        return answers

    def find_call(self, name: str) -> Call:
        """Ids of jobs that have a name."""
        return Call(("qselect", "-N", name))

    def read_find(self, name: str, output: Output) -> Answer:
        """One id on a line, or nothing."""
        if output.code:
            return CannotTell(output.complaint)
        found = _JOB_ID.findall(output.out)
        return Known(found[0], "QUEUED", others=tuple(found[1:])) if found else Gone()

    def in_vain(self, reason: str) -> InVain | None:
        """``Can Never Run: ...`` in the comment of PBS Professional, and holds."""
        if reason.startswith("Can Never Run"):
            return InVain("nodes" if "total nodes" in reason else "")
        return InVain() if reason.partition(":")[0] == _HELD else None

    def cancel_call(self, job_id: str) -> Call:
        """Ends a job, queued or running: SIGTERM to all of it, and SIGKILL after the server's kill_delay."""
        return Call(("qdel", job_id))

    def is_over(self, output: Output) -> bool:
        """A job that has ended, or is not known any more."""
        return any(text in output.err + output.out for text in _OVER)


def _number(job_id: str) -> str:
    return job_id.partition(".")[0]


def _answer(ticket: Ticket, fields: dict[str, str]) -> Answer:
    said = fields.get("job_state", "")
    state = _STATES.get(said)
    code = fields.get("Exit_status", fields.get("exit_status", ""))
    detail = fields.get("comment", "") if state == "QUEUED" else ""
    if said == "H":
        detail = _HELD
    if state == "ENDED" and code not in ("", "0"):
        detail = f"it ended with {code}"
    return answer_for(ticket, fields.get("Job_Name", ""), state, said, detail)
