"""Slurm. Sources: the manual pages of sbatch, squeue, scontrol and scancel of Slurm 22.05 to 24.05."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from balsam_scheduler.batch.answers import Answer, CannotTell, Gone, InVain, Known, Submission, Ticket
from balsam_scheduler.batch.calls import Call, CannotRun, Output, Run
from balsam_scheduler.batch.systems.commanded import LIVE, Commanded, answer_for

_STATES = {
    **dict.fromkeys(("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"), "QUEUED"),
    **dict.fromkeys(("RESV_DEL_HOLD", "SPECIAL_EXIT"), "QUEUED"),
    **dict.fromkeys(("RUNNING", "COMPLETING", "STAGE_OUT", "STOPPED", "SUSPENDED"), "RUNNING"),
    **dict.fromkeys(("SIGNALING", "RESIZING"), "RUNNING"),
    **dict.fromkeys(("COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"), "ENDED"),
    **dict.fromkeys(("BOOT_FAIL", "DEADLINE", "PREEMPTED", "REVOKED", "LAUNCH_FAILED"), "ENDED"),
    "CANCELLED": "CANCELLED",
}
"""Job state (JOB STATE CODES in squeue(1)) -> state of a launch."""

_ENDED = ("ENDED", "CANCELLED")

_IN_VAIN = (
    (r"Partition(NodeLimit|Config)|(Assoc|QOS)Max(?!Wall|\w*Minutes)\w*PerJob(Limit)?", InVain("nodes")),
    (r"PartitionTimeLimit|(Assoc|QOS)MaxWall\w*PerJob(Limit)?", InVain("minutes")),
    (r"(Assoc|QOS)Max\w*MinutesPerJob(Limit)?", InVain("node-minutes")),
    # What an account may use in all, and has used: what is merely in use (AssocGrpCpuLimit) becomes free.
    (r"(Assoc|QOS)Grp(?!\w*RunMinutes)(\w*Minutes|Wall)(Limit)?", InVain()),
    (r"BadConstraints|Invalid(Account|QOS)|(Account|QOS)NotAllowed|QOSMin\w+", InVain()),
    (r"DependencyNeverSatisfied|ReservationDeleted|JobHeld(User|Admin)|launch failed requeued held", InVain()),
)
"""Reasons (JOB REASON CODES in squeue(1)) for which a job waits until somebody changes something. Not those that tell
of nodes or a partition that are down: they come back."""

_JOB_ID = re.compile(r"^(\d+(?:;\S+)?)$", re.MULTILINE)
_UNKNOWN = "Invalid job id specified"
_OVER = (_UNKNOWN, "already completing or completed")


_CONFIGURATIONS = ("/etc/slurm/slurm.conf", "/run/slurm/conf/slurm.conf", "/etc/opt/slurm/slurm.conf")
_NO_CLUSTER = "Could not establish a configuration source"


def has_cluster(environ: Mapping[str, str], run: Run) -> bool:
    """Whether the commands belong to a cluster: packages that are installed and configured for none are of no use.

    They find their configuration in a file, or ask for it by DNS: they are asked only where no file is found.
    """
    named = environ.get("SLURM_CONF") or environ.get("SLURM_CONF_SERVER")
    if named or any(os.path.exists(path) for path in _CONFIGURATIONS):
        return True
    try:
        return _NO_CLUSTER not in run(Call(("squeue", "-h", "-t", "RUNNING", "-o", "%i"))).err
    except CannotRun:
        return True


class Slurm(Commanded):
    """Jobs are asked for by their names, which tells those apart that have got the id of another since.

    An id is ``123``, or ``123;CLUSTER`` where the flags of the submission named another cluster (-M), which is asked.
    """

    name = "slurm"

    def look(self, tickets: Sequence[Ticket], run: Run) -> dict[Ticket, Answer]:
        """Asks about jobs; those of a cluster all at once."""
        answers: dict[Ticket, Answer] = {}
        for cluster in dict.fromkeys(_cluster(ticket.job_id) for ticket in tickets):
            answers |= super().look([ticket for ticket in tickets if _cluster(ticket.job_id) == cluster], run)
        return answers

    def submit_call(self, wanted: Submission) -> Call:
        """The options here win over those in the script and over variables (SBATCH_...), and these over the script.

        So those do not count that would change what is recorded of the launch.
        """
        output = str(wanted.output).replace("%", "%%")
        options = (f"--job-name={wanted.name}", f"--output={output}")
        given = {"SBATCH_TIMELIMIT": True, "SBATCH_PARTITION": wanted.queue, "SBATCH_ACCOUNT": wanted.project}
        words = ("sbatch", "--parsable", *wanted.flags, *options, str(wanted.script))
        return Call(words, without=tuple(name for name, value in given.items() if value))

    def submitted(self, output: Output) -> str:
        """``123``, or ``123;cluster``."""
        found = _JOB_ID.search(output.out)
        return found[1] if found else ""

    def query_call(self, tickets: Sequence[Ticket]) -> Call:
        """All states: those that have ended are there for MinJobAge (300 s). Variables would narrow what is shown."""
        names = ",".join(ticket.name for ticket in tickets)
        where = _cluster(tickets[0].job_id)
        words = ("squeue", *where, "-h", "-t", "all", "-o", "%i|%T|%r|%j", f"--name={names}")
        return Call(words, without=("SQUEUE_*",))

    def read_query(self, tickets: Sequence[Ticket], output: Output) -> dict[Ticket, Answer]:
        """Lines such as ``123|PENDING|Resources|balsam-7-0f3a9c1e``."""
        if output.code:
            return dict.fromkeys(tickets, CannotTell(output.complaint))
        rows: dict[str, list[list[str]]] = {}
        for line in output.out.splitlines():
            parts = line.strip().split("|")
            if len(parts) == 4:
                rows.setdefault(parts[3], []).append(parts)
        return {ticket: _chosen(ticket, rows.get(ticket.name, [])) for ticket in tickets}

    def find_call(self, name: str) -> Call:
        """The same question."""
        return self.query_call([Ticket(name)])

    def read_find(self, name: str, output: Output) -> Answer:
        """The same answer."""
        return self.read_query([Ticket(name)], output)[Ticket(name)]

    def again_call(self, ticket: Ticket) -> Call:
        """What squeue does not show is asked for by its id, too."""
        return Call(("scontrol", *_cluster(ticket.job_id), "-o", "show", "job", _number(ticket.job_id)))

    def read_again(self, ticket: Ticket, output: Output) -> Answer:
        """One line of NAME=VALUE."""
        if output.code:
            return Gone() if _UNKNOWN in output.err + output.out else CannotTell(output.complaint)
        values = dict(word.partition("=")[::2] for word in output.out.split())
        state, reason = values.get("JobState", ""), values.get("Reason", "")
        return answer_for(ticket, values.get("JobName", ""), _STATES.get(state), state, _detail(state, reason))

    def in_vain(self, reason: str) -> InVain | None:
        """Limits, constraints and rights that the job does not meet, and holds."""
        word = reason.partition(":")[0]
        return next((meaning for pattern, meaning in _IN_VAIN if re.fullmatch(pattern, word)), None)

    def stop_call(self, job_id: str) -> Call:
        """To the script alone, which the launcher has taken the place of: not to the runs."""
        return Call(("scancel", *_cluster(job_id), "--batch", "--signal=TERM", _number(job_id)))

    def cancel_call(self, job_id: str) -> Call:
        """Ends a job, queued or running."""
        return Call(("scancel", *_cluster(job_id), _number(job_id)))

    def is_over(self, output: Output) -> bool:
        """A job that has ended, or is not known any more."""
        return any(text in output.err + output.out for text in _OVER)


def _chosen(ticket: Ticket, rows: Sequence[Sequence[str]]) -> Answer:
    """Of the jobs that have the name of a launch one that is not over, if there is one the one with its id.

    The others that are not over are told.
    """
    if not rows:
        return Gone()
    rows = sorted(rows, key=lambda row: (_STATES.get(row[1]) in _ENDED, row[0] != _number(ticket.job_id)))
    number, state, reason, name = rows[0]
    job_id = ticket.job_id if number == _number(ticket.job_id) else number
    answer = answer_for(Ticket(ticket.name, job_id), name, _STATES.get(state), state, _detail(state, reason))
    others = tuple(row[0] for row in rows[1:] if _STATES.get(row[1]) in LIVE)
    return replace(answer, others=others) if isinstance(answer, Known) else answer


def _number(job_id: str) -> str:
    return job_id.partition(";")[0]


def _cluster(job_id: str) -> tuple[str, ...]:
    """The words that name the cluster of a job."""
    cluster = job_id.partition(";")[2]
    return ("-M", cluster) if cluster else ()


def _detail(state: str, reason: str) -> str:
    reason = "" if reason == "None" else reason
    if _STATES.get(state) in ("QUEUED", "RUNNING"):
        return reason if _STATES[state] == "QUEUED" else ""
    return f"{state} ({reason})" if reason else state
