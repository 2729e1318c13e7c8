"""Slurm: the commands, and what they say. Outputs recorded from Slurm 22.05."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from balsam_scheduler.batch.answers import Answer, CannotTell, Gone, Known, Submission, Ticket
from balsam_scheduler.batch.calls import Call, Output
from balsam_scheduler.batch.systems.slurm import Slurm

SLURM = Slurm()
ONE, TWO = Ticket("balsam-1-aaaaaaaa", "11"), Ticket("balsam-2-bbbbbbbb", "12")
AWAY = Output(1, err="slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n")


def row(ticket: Ticket, state: str, reason: str = "None", job_id: str = "") -> str:
    return f"{job_id or ticket.job_id}|{state}|{reason}|{ticket.name}\n"


def test_what_users_ask_for_comes_before_what_balsam_needs() -> None:
    wanted = Submission("balsam-1-aaaaaaaa", Path("/s/launch-1.sh"), Path("/s/100%/1.out"), flags=("--qos", "high"))
    assert SLURM.submit_call(wanted).words == (
        *("sbatch", "--parsable", "--qos", "high", "--job-name=balsam-1-aaaaaaaa"),
        *("--output=/s/100%%/1.out", "/s/launch-1.sh"),
    )


def test_variables_of_the_user_change_neither_what_is_recorded_nor_what_is_shown() -> None:
    """For sbatch they win over the lines of a script, and for squeue they narrow what is shown."""
    wanted = Submission("balsam-1-aaaaaaaa", Path("/s/launch-1.sh"), Path("/s/1.out"))
    assert SLURM.submit_call(wanted).without == ("SBATCH_TIMELIMIT",)
    whole = replace(wanted, queue="debug", project="climate")
    assert SLURM.submit_call(whole).without == ("SBATCH_TIMELIMIT", "SBATCH_PARTITION", "SBATCH_ACCOUNT")
    assert SLURM.query_call([ONE]).without == SLURM.find_call(ONE.name).without == ("SQUEUE_*",)


@pytest.mark.parametrize(
    ("out", "job_id"),
    [
        ("11\n", "11"),
        ("11;cluster\n", "11;cluster"),
        ("a plugin's note\n11\n", "11"),
        ("", ""),
        ("Submitted batch job", ""),
    ],
)
def test_the_id_of_what_was_submitted(out: str, job_id: str) -> None:
    assert SLURM.submitted(Output(0, out)) == job_id


def test_one_query_asks_for_all_by_name() -> None:
    words = SLURM.query_call([ONE, TWO]).words
    assert words[0] == "squeue"
    assert words[-1] == "--name=balsam-1-aaaaaaaa,balsam-2-bbbbbbbb"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (row(ONE, "PENDING", "Resources"), Known("11", "QUEUED", "Resources")),
        (row(ONE, "PENDING"), Known("11", "QUEUED")),
        (row(ONE, "CONFIGURING"), Known("11", "QUEUED")),
        (row(ONE, "RUNNING"), Known("11", "RUNNING")),
        (row(ONE, "COMPLETING"), Known("11", "RUNNING")),
        (row(ONE, "SUSPENDED"), Known("11", "RUNNING")),
        (row(ONE, "COMPLETED"), Known("11", "ENDED", "COMPLETED")),
        (row(ONE, "FAILED", "NonZeroExitCode"), Known("11", "ENDED", "FAILED (NonZeroExitCode)")),
        (row(ONE, "TIMEOUT", "TimeLimit"), Known("11", "ENDED", "TIMEOUT (TimeLimit)")),
        (row(ONE, "NODE_FAIL"), Known("11", "ENDED", "NODE_FAIL")),
        (row(ONE, "PREEMPTED"), Known("11", "ENDED", "PREEMPTED")),
        (row(ONE, "CANCELLED"), Known("11", "CANCELLED", "CANCELLED")),
        (row(ONE, "DREAMING"), CannotTell("its state is 'DREAMING', which this version does not know")),
        ("", Gone()),
        (row(TWO, "RUNNING"), Gone()),
        ("garbage\n\n", Gone()),
        # Without an id, or with another one, it is known by its name.
        (row(ONE, "PENDING", job_id="99"), Known("99", "QUEUED")),
        # Accepted twice: the id that is known counts, and the other one is told.
        (row(ONE, "PENDING", job_id="99") + row(ONE, "RUNNING"), Known("11", "RUNNING", "", ("99",))),
        (row(ONE, "COMPLETED", job_id="99") + row(ONE, "RUNNING"), Known("11", "RUNNING")),
        # Of those one that is not over counts, also if it is the other.
        (row(ONE, "CANCELLED") + row(ONE, "RUNNING", job_id="99"), Known("99", "RUNNING")),
        (row(ONE, "COMPLETED", job_id="99") + row(ONE, "CANCELLED"), Known("11", "CANCELLED", "CANCELLED")),
    ],
)
def test_what_squeue_says(line: str, answer: Answer) -> None:
    assert SLURM.read_query([ONE], Output(0, line)) == {ONE: answer}


def test_jobs_of_another_cluster_are_asked_for_there() -> None:
    def run(call: Call) -> Output:
        asked.append(" ".join(call.words))
        return Output(0, f"CLUSTER: far\n{row(ONE, 'RUNNING')}" if "-M" in call.words else row(TWO, "PENDING"))

    asked: list[str] = []
    far = Ticket(ONE.name, "11;far")
    assert SLURM.look([far, TWO], run) == {far: Known("11;far", "RUNNING"), TWO: Known("12", "QUEUED")}
    assert asked[0] == f"squeue -M far -h -t all -o %i|%T|%r|%j --name={ONE.name}"
    assert SLURM.again_call(far).words == ("scontrol", "-M", "far", "-o", "show", "job", "11")
    assert SLURM.cancel_call("11;far").words == ("scancel", "-M", "far", "11")
    assert SLURM.stop_call("11;far").words == ("scancel", "-M", "far", "--batch", "--signal=TERM", "11")


def test_a_controller_that_is_away_says_nothing_about_any_job() -> None:
    reason = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    assert SLURM.read_query([ONE, TWO], AWAY) == dict.fromkeys([ONE, TWO], CannotTell(reason))


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (
            Output(0, "JobId=11 JobName=balsam-1-aaaaaaaa UserId=me(0) JobState=RUNNING Reason=None"),
            Known("11", "RUNNING"),
        ),
        (
            Output(0, "JobId=11 JobName=balsam-1-aaaaaaaa JobState=TIMEOUT Reason=TimeLimit Dependency=(null)"),
            Known("11", "ENDED", "TIMEOUT (TimeLimit)"),
        ),
        (Output(0, "JobId=11 JobName=wrap UserId=you(7) JobState=RUNNING Reason=None"), Gone()),
        (Output(1, err="slurm_load_jobs error: Invalid job id specified\n"), Gone()),
        (AWAY, CannotTell("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")),
    ],
)
def test_what_scontrol_says_of_a_job_that_squeue_does_not_show(output: Output, answer: Answer) -> None:
    assert SLURM.again_call(ONE).words == ("scontrol", "-o", "show", "job", "11")
    assert SLURM.read_again(ONE, output) == answer


@pytest.mark.parametrize(
    ("said", "over"),
    [
        ("scancel: error: Kill job error on job id 11: Invalid job id specified", True),
        ("scancel: error: Kill job error on job id 11: Job/step already completing or completed", True),
        ("scancel: error: Kill job error on job id 11: Access/permission denied", False),
    ],
)
def test_a_job_that_cannot_be_cancelled_may_be_over(said: str, over: bool) -> None:
    assert SLURM.is_over(Output(1, err=said)) is over
