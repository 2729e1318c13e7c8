"""Batch systems that are spoken to by commands: what they have in common around pairs of pure functions."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace

from balsam.errors import BalsamError
from balsam_scheduler.batch.answers import (
    Answer,
    CannotTell,
    Gone,
    InDoubt,
    InVain,
    Known,
    Refused,
    Submission,
    Ticket,
    run_submission,
)
from balsam_scheduler.batch.calls import Call, CannotRun, Output, Run, until_silent

_DOUBTFUL = re.compile(r"time[d -]*out|reset by peer|zero bytes|end of file|no response|broken pipe", re.IGNORECASE)
"""What commands say whose request may have arrived, though the answer did not."""


class Commanded(ABC):
    """For each question one function builds the command, and another one reads what it says. Both are pure."""

    name: str
    longest_name = 200

    # Pairs: of a submission,

    @abstractmethod
    def submit_call(self, wanted: Submission) -> Call:
        """The command that submits."""

    @abstractmethod
    def submitted(self, output: Output) -> str:
        """The id of the job that was submitted; empty: the output names none."""

    # of the state of jobs whose ids are known,

    @abstractmethod
    def query_call(self, tickets: Sequence[Ticket]) -> Call:
        """The command that asks about jobs."""

    @abstractmethod
    def read_query(self, tickets: Sequence[Ticket], output: Output) -> dict[Ticket, Answer]:
        """What it says about each."""

    # of a job whose id is not known,

    @abstractmethod
    def find_call(self, name: str) -> Call:
        """The command that looks for a job by its name."""

    @abstractmethod
    def read_find(self, name: str, output: Output) -> Answer:
        """What it has found."""

    # of a job that the first question did not find,

    def again_call(self, ticket: Ticket) -> Call | None:
        """The command that asks once more about a job that is gone; None: once is enough."""
        return None

    def read_again(self, ticket: Ticket, output: Output) -> Answer:
        """What it says."""
        return Gone()

    # and of the end of a job.

    def stop_call(self, job_id: str) -> Call | None:
        """The command that sends SIGTERM to the script of a job and to nothing else; None: there is none."""
        return None

    @abstractmethod
    def cancel_call(self, job_id: str) -> Call:
        """The command that ends a job."""

    @abstractmethod
    def is_over(self, output: Output) -> bool:
        """Whether a command that ends a job has failed because it is over."""

    def in_vain(self, reason: str) -> InVain | None:
        """What a reason for waiting means that does not go away by itself; None: it may, or is not known."""
        return None

    # What is done with them

    def submission(self, wanted: Submission) -> tuple[str, ...]:
        """The words of the command that submits."""
        return self.submit_call(wanted).words

    def submit(self, wanted: Submission, run: Run) -> str:
        """Submits, and gives the id of the job.

        Raises:
            Refused: it was not accepted.
            InDoubt: it may have been.
        """
        call = self.submit_call(wanted)
        output = run_submission(call, run)
        job_id = "" if output.code else self.submitted(output)
        if job_id:
            return job_id
        said = f"{call.words[0]}: {output.complaint.removeprefix(f'{call.words[0]}: ')}"
        if output.code < 0 or not output.code or _DOUBTFUL.search(output.err + output.out):
            raise InDoubt(said)
        raise Refused(said)

    def look(self, tickets: Sequence[Ticket], run: Run) -> dict[Ticket, Answer]:
        """Asks about jobs; those whose ids are known all at once. Once there was no answer, it asks nothing more."""
        run = until_silent(run)
        answers = self._query([ticket for ticket in tickets if ticket.job_id], run)
        for ticket in tickets:
            if not ticket.job_id:
                answers[ticket] = self._find(ticket.name, run)
        return answers

    def _query(self, tickets: Sequence[Ticket], run: Run) -> dict[Ticket, Answer]:
        if not tickets:
            return {}
        try:
            answers = self.read_query(tickets, run(self.query_call(tickets)))
        except CannotRun as error:
            return dict.fromkeys(tickets, CannotTell(str(error)))
        return {ticket: self._again(ticket, answers[ticket], run) for ticket in tickets}

    def _again(self, ticket: Ticket, answer: Answer, run: Run) -> Answer:
        call = self.again_call(ticket) if isinstance(answer, Gone) else None
        if call is None:
            return answer
        try:
            return self.read_again(ticket, run(call))
        except CannotRun as error:
            return CannotTell(str(error))

    def _find(self, name: str, run: Run) -> Answer:
        try:
            return self.read_find(name, run(self.find_call(name)))
        except CannotRun as error:
            return CannotTell(str(error))

    def ask_to_stop(self, job_id: str, run: Run) -> bool:
        """Asks the launcher of a job that runs to stop by itself; False: there is no way to do so."""
        call = self.stop_call(job_id)
        try:
            return call is not None and run(call).code == 0
        except CannotRun:
            return False

    def cancel(self, job_id: str, run: Run) -> None:
        """Ends a job; one that is over is no error.

        Raises:
            BalsamError: it was not ended; says why.
        """
        output = run(self.cancel_call(job_id))
        if output.code and not self.is_over(output):
            raise BalsamError(f"{self.name} job {job_id} is not cancelled: {output.complaint}")


LIVE = ("QUEUED", "RUNNING")
"""States of a launch whose job is not over."""


def one_of(answers: Iterable[Answer]) -> Answer:
    """Of the jobs that have the name of a launch one that is not over, with the ids of the others that are not."""
    answers = list(answers)
    known = [answer for answer in answers if isinstance(answer, Known)]
    live = [answer for answer in known if answer.state in LIVE]
    if live:
        return replace(live[0], others=tuple(answer.job_id for answer in live[1:]))
    unclear = [answer for answer in answers if isinstance(answer, CannotTell)]
    others: list[Answer] = [*unclear, *known, Gone()]
    return others[0]


def answer_for(ticket: Ticket, name: str, state: str | None, said: str, detail: str = "") -> Answer:
    """What a line about a job means.

    Args:
        ticket: who was asked about.
        name: the name of the job in the line: another one has got the id since.
        state: the state of a launch; None: the batch system's word for it is not known.
        said: that word.
        detail: more in its own words.
    """
    if name != ticket.name:
        return Gone()
    if state is None:
        return CannotTell(f"its state is {said!r}, which this version does not know")
    return Known(ticket.job_id, state, detail)
