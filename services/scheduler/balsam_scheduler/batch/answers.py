"""What a batch system can be asked, and its three answers: known, gone, cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from balsam.errors import BalsamError
from balsam_scheduler.batch.calls import Call, CannotRun, NoAnswer, Output, Run


@dataclass(frozen=True)
class Ticket:
    """What a job of the batch system is known by.

    Attributes:
        name: the name that it was given, which no other has: ids are used again.
        job_id: how the batch system names it; empty: it is not known whether it has it.
    """

    name: str
    job_id: str = ""


@dataclass(frozen=True)
class Known:
    """The batch system knows the job.

    Attributes:
        job_id: how it names it.
        state: of a launch: ``QUEUED``, ``RUNNING``, ``ENDED`` or ``CANCELLED``.
        detail: why, in its own words; empty: nothing is to be said.
        others: ids of further jobs of the same name: the launch was accepted more than once.
    """

    job_id: str
    state: str
    detail: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gone:
    """The batch system does not have it (any more)."""

    detail: str = "it is not in the queue any more"


@dataclass(frozen=True)
class CannotTell:
    """The batch system was not reached, or what it says makes no sense: the job may be queued, running or over."""

    reason: str


Answer = Known | Gone | CannotTell


@dataclass(frozen=True)
class InVain:
    """A reason for waiting that does not go away by itself.

    Attributes:
        too_much: what the job asks too much of: ``nodes``, ``minutes`` or ``node-minutes``; less of it might start.
            Empty: whatever is submitted in the same way waits like it.
    """

    too_much: str = ""

    @property
    def text(self) -> str:
        """For people, to follow the batch system's own word."""
        too_much = f"it asks for more {self.too_much} than it may have there"
        return f"{too_much if self.too_much else 'somebody must change that'}; it does not start by itself"


class Refused(BalsamError):
    """The batch system did not accept a submission; says why."""

    reason = "BATCH_SYSTEM"


class InDoubt(BalsamError):
    """A submission may have been accepted; says what is known."""

    reason = "BATCH_SYSTEM"


def run_submission(call: Call, run: Run) -> Output:
    """Runs the command that submits.

    Raises:
        Refused: it could not be run.
        InDoubt: it did not end in time, and may have submitted.
    """
    try:
        return run(call)
    except NoAnswer as error:
        raise InDoubt(str(error)) from None
    except CannotRun as error:
        raise Refused(str(error)) from None


@dataclass(frozen=True)
class Submission:
    """What is submitted.

    Attributes:
        name: name of the job.
        script: absolute path of the script.
        output: absolute path of the file that takes its output.
        nodes: how many nodes.
        wall_minutes: time limit [minutes].
        queue: queue or partition; empty: the default.
        project: project that is charged; empty: the default.
        flags: further options of the submission.
        text: what the script holds.
    """

    name: str
    script: Path
    output: Path
    nodes: int = 1
    wall_minutes: int = 60
    queue: str = ""
    project: str = ""
    flags: tuple[str, ...] = ()
    text: str = ""


class System(Protocol):
    """A batch system."""

    name: str
    longest_name: int
    """Characters that the name of a job may have."""

    def submission(self, wanted: Submission) -> tuple[str, ...]:
        """The words of the command that submits."""

    def submit(self, wanted: Submission, run: Run) -> str:
        """Submits, and gives the id of the job.

        Raises:
            Refused: it was not accepted.
            InDoubt: it may have been.
        """

    def look(self, tickets: Sequence[Ticket], run: Run) -> dict[Ticket, Answer]:
        """Asks about jobs, all at once where it can; an answer for each."""

    def in_vain(self, reason: str) -> InVain | None:
        """What a reason for waiting means that does not go away by itself; None: it may, or is not known.

        Args:
            reason: the `detail` of a job that is queued; more may follow it, after a colon.
        """

    def ask_to_stop(self, job_id: str, run: Run) -> bool:
        """Asks the launcher of a job that runs to stop by itself; False: the batch system has no way to do so."""

    def cancel(self, job_id: str, run: Run) -> None:
        """Ends a job; one that is over is no error.

        Raises:
            BalsamError: it was not ended; says why.
        """
