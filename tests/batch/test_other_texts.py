"""PBS, LSF, Cobalt and Flux: the commands, and what they say, as recorded and as their manuals have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from balsam_scheduler.batch.answers import Answer, CannotTell, Gone, Known, Submission, Ticket
from balsam_scheduler.batch.calls import Call, NoAnswer, Output
from balsam_scheduler.batch.systems.cobalt import Cobalt
from balsam_scheduler.batch.systems.commanded import Commanded
from balsam_scheduler.batch.systems.flux import Flux
from balsam_scheduler.batch.systems.lsf import Lsf
from balsam_scheduler.batch.systems.pbs import Pbs

PBS, LSF, COBALT, FLUX = Pbs(), Lsf(), Cobalt(), Flux()
WANTED = Submission(
    *("n-1", Path("/s/launch-1.sh"), Path("/s/1.out")),
    nodes=4,
    wall_minutes=90,
    queue="debug",
    project="climate",
    flags=("-x", "y"),
    text="#!/bin/bash\n",
)


@pytest.mark.parametrize(
    ("system", "command", "input_text"),
    [
        (PBS, "qsub -x y -N n-1 -j oe -o /s/1.out /s/launch-1.sh", ""),
        (LSF, "bsub -x y -J n-1 -o /s/1.out", "#!/bin/bash\n"),
        (
            COBALT,
            "qsub -t 90 -n 4 -q debug -A climate --mode script --jobname n-1 -o /s/1.out -e /s/1.out -x y"
            " /s/launch-1.sh",
            "",
        ),
        (FLUX, "flux batch -x y --job-name=n-1 --output=/s/1.out /s/launch-1.sh", ""),
    ],
)
def test_the_command_that_submits(system: Commanded, command: str, input_text: str) -> None:
    call = system.submit_call(WANTED)
    assert (" ".join(call.words), call.input) == (command, input_text)


@pytest.mark.parametrize(
    ("system", "out", "job_id"),
    [
        (PBS, "1234.pbs01.example.org\n", "1234.pbs01.example.org"),
        (PBS, "a note of a hook\n1234.pbs01\n", "1234.pbs01"),
        (PBS, "", ""),
        (LSF, "Job <930> is submitted to default queue <normal>.\n", "930"),
        (LSF, "Verifying project...\nJob <930> is submitted to queue <batch>.\n", "930"),
        (LSF, "Request aborted by esub.", ""),
        (COBALT, 'Job routed to queue "default".\nMemory mode set to cache quad\n527614\n', "527614"),
        (COBALT, "", ""),
        (FLUX, "ƒ2kWzC5Xj\n", "f2kWzC5Xj"),
        (FLUX, "f2kWzC5Xj\n", "f2kWzC5Xj"),
        (FLUX, "35278289911809\n", "35278289911809"),
        (FLUX, "\n", ""),
    ],
)
def test_the_id_of_what_was_submitted(system: Commanded, out: str, job_id: str) -> None:
    assert system.submitted(Output(0, out)) == job_id


UNKNOWN_STATE = "its state is {!r}, which this version does not know"
PBS_PRO = """Job Id: 11.pbs01.example.org
    Job_Name = b1-aaaaaaaa
    Job_Owner = me@login1.example.org
    resources_used.walltime = 00:01:12
    job_state = {state}
    queue = workq
    exec_host = n1/0*64
\t+n2/0*64
    comment = Job run at Thu Nov 26 at 10:00 on (n1:ncpus=64)
    Exit_status = {code}
    Variable_List = PBS_O_HOME=/home/me,PBS_O_LANG=C,
\tPBS_O_PATH=/usr/bin:/bin

"""
HISTORY = "use -x or -H to obtain historical job information"
TORQUE = """Job Id: 11.torque
    Job_Name = b1-aaaaaaaa
    job_state = C
    exit_status = 271
    Walltime.Remaining = 0
"""
P = Ticket("b1-aaaaaaaa", "11.pbs01.example.org")
RAN = "Job run at Thu Nov 26 at 10:00 on (n1:ncpus=64)"


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (Output(0, PBS_PRO.format(state="Q", code=0)), Known(P.job_id, "QUEUED", RAN)),
        (Output(0, PBS_PRO.format(state="H", code=0)), Known(P.job_id, "QUEUED", "held")),
        (Output(0, PBS_PRO.format(state="R", code=0)), Known(P.job_id, "RUNNING")),
        (Output(0, PBS_PRO.format(state="E", code=0)), Known(P.job_id, "RUNNING")),
        (Output(0, PBS_PRO.format(state="F", code=0)), Known(P.job_id, "ENDED")),
        (Output(0, PBS_PRO.format(state="F", code=1)), Known(P.job_id, "ENDED", "it ended with 1")),
        (Output(0, PBS_PRO.format(state="?", code=0)), CannotTell(UNKNOWN_STATE.format("?"))),
        (Output(0, PBS_PRO.format(state="R", code=0).replace("b1-aaaaaaaa", "other")), Gone()),
        (Output(0, TORQUE), Known(P.job_id, "ENDED", "it ended with 271")),
        (Output(153, err="qstat: Unknown Job Id 11.pbs01.example.org\n"), Gone()),
        (Output(153, err="qstat: Unknown Job Id Error 11.torque\n"), Gone()),
        (Output(35, err=f"qstat: 11.pbs01 Job has finished, {HISTORY}\n"), Gone()),
        (
            Output(255, err="Connection refused\nqstat: cannot connect to server pbs01 (errno=111)\n"),
            CannotTell("Connection refused | qstat: cannot connect to server pbs01 (errno=111)"),
        ),
        (Output(0, ""), CannotTell("it said nothing and ended with 0")),
    ],
)
def test_what_qstat_of_pbs_says(output: Output, answer: Answer) -> None:
    assert PBS.query_call([P]).words == ("qstat", "-f", P.job_id)
    assert PBS.read_query([P], output) == {P: answer}


def test_pbs_answers_for_each_of_many() -> None:
    gone, away = Ticket("b2-bbbbbbbb", "12.pbs01"), Ticket("b3-cccccccc", "13.pbs01")
    output = Output(153, PBS_PRO.format(state="R", code=0), "qstat: Unknown Job Id 12.pbs01\n")
    answers = PBS.read_query([P, gone, away], output)
    assert (answers[P], answers[gone]) == (Known(P.job_id, "RUNNING"), Gone())
    assert isinstance(answers[away], CannotTell)


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (Output(0, "11.pbs01\n"), Known("11.pbs01", "QUEUED")),
        (Output(0, "11.pbs01\n12.pbs01\n"), Known("11.pbs01", "QUEUED", "", ("12.pbs01",))),
        (Output(0, ""), Gone()),
        (
            Output(1, err="qselect: cannot connect to server pbs01\n"),
            CannotTell("qselect: cannot connect to server pbs01"),
        ),
    ],
)
def test_pbs_finds_a_job_by_its_name(output: Output, answer: Answer) -> None:
    assert PBS.find_call(P.name).words == ("qselect", "-N", P.name)
    assert PBS.read_find(P.name, output) == answer


L = Ticket("balsam-1-aaaaaaaa", "11")


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (Output(0, "11|PEND|balsam-1-aaaaaaaa\n"), Known("11", "QUEUED")),
        (Output(0, "11|PSUSP|balsam-1-aaaaaaaa\n"), Known("11", "QUEUED", "PSUSP")),
        (Output(0, "11|RUN|balsam-1-aaaaaaaa\n"), Known("11", "RUNNING")),
        (Output(0, "11|USUSP|balsam-1-aaaaaaaa\n"), Known("11", "RUNNING")),
        (Output(0, "11|DONE|balsam-1-aaaaaaaa\n"), Known("11", "ENDED")),
        (Output(0, "11|EXIT|balsam-1-aaaaaaaa\n"), Known("11", "ENDED", "EXIT")),
        (Output(0, "11|UNKWN|balsam-1-aaaaaaaa\n"), CannotTell(UNKNOWN_STATE.format("UNKWN"))),
        (Output(0, "11|RUN|somebody's\n"), Gone()),
        (Output(255, err="Job <11> is not found\n"), Gone()),
        (Output(255, "12|RUN|x\n", "Job <11> is not found\n"), Gone()),
        (Output(255, err="LSF is down. Please wait ...\n"), CannotTell("LSF is down. Please wait ...")),
    ],
)
def test_what_bjobs_says(output: Output, answer: Answer) -> None:
    assert LSF.read_query([L], output) == {L: answer}


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (Output(0, "11|RUN|balsam-1-aaaaaaaa\n"), Known("11", "RUNNING")),
        (
            Output(0, "".join(f"{row}|balsam-1-aaaaaaaa\n" for row in ("10|EXIT", "11|PEND", "12|RUN", "13|DONE"))),
            Known("11", "QUEUED", "", ("12",)),
        ),
        (Output(0, "10|EXIT|balsam-1-aaaaaaaa\n"), Known("10", "ENDED", "EXIT")),
        (
            Output(0, "10|EXIT|balsam-1-aaaaaaaa\n11|UNKWN|balsam-1-aaaaaaaa\n"),
            CannotTell(UNKNOWN_STATE.format("UNKWN")),
        ),
        (Output(255, err="Job <balsam-1-aaaaaaaa> is not found\n"), Gone()),
        (Output(255, err="LSF is down. Please wait ...\n"), CannotTell("LSF is down. Please wait ...")),
    ],
)
def test_lsf_finds_a_job_by_its_name(output: Output, answer: Answer) -> None:
    assert LSF.read_find(L.name, output) == answer


TABLE = "JobID  JobName            State\n======================================\n11     balsam-1-aaaaaaaa  {}\n"


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (Output(0, TABLE.format("queued")), Known("11", "QUEUED")),
        (Output(0, TABLE.format("user_hold")), Known("11", "QUEUED", "user_hold")),
        (Output(0, TABLE.format("starting")), Known("11", "RUNNING")),
        (Output(0, TABLE.format("running")), Known("11", "RUNNING")),
        (Output(0, TABLE.format("exiting")), Known("11", "RUNNING")),
        (Output(0, TABLE.format("odd")), CannotTell(UNKNOWN_STATE.format("odd"))),
        (Output(0, TABLE.format("running").replace("balsam-1", "other")), Gone()),
        (Output(1), Gone()),
        (Output(0), Gone()),
        (Output(1, err="failed to connect to cqm\n"), CannotTell("failed to connect to cqm")),
        (Output(-9), CannotTell("it said nothing and ended with -9")),
        (Output(2), CannotTell("it said nothing and ended with 2")),
    ],
)
def test_what_qstat_of_cobalt_says(output: Output, answer: Answer) -> None:
    assert COBALT.read_query([L], output) == {L: answer}


def test_cobalt_finds_a_job_by_its_name() -> None:
    output = Output(0, TABLE.format("queued") + "12     other              running\n")
    assert COBALT.read_find(L.name, output) == Known("11", "QUEUED")
    assert COBALT.read_find("balsam-7-cccccccc", output) == Gone()
    assert COBALT.read_find(L.name, Output(-9)) == CannotTell("it said nothing and ended with -9")
    twice = Output(0, TABLE.format("queued") + "12     balsam-1-aaaaaaaa  running\n")
    assert COBALT.read_find(L.name, twice) == Known("11", "QUEUED", "", ("12",))


F = Ticket("balsam-1-aaaaaaaa", "f2kWzC5Xj")


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (Output(0, "ƒ2kWzC5Xj|SCHED|balsam-1-aaaaaaaa\n"), Known("f2kWzC5Xj", "QUEUED")),
        (Output(0, "f2kWzC5Xj|DEPEND|balsam-1-aaaaaaaa\n"), Known("f2kWzC5Xj", "QUEUED", "DEPEND")),
        (Output(0, "ƒ2kWzC5Xj|RUN|balsam-1-aaaaaaaa\n"), Known("f2kWzC5Xj", "RUNNING")),
        (Output(0, "ƒ2kWzC5Xj|CLEANUP|balsam-1-aaaaaaaa\n"), Known("f2kWzC5Xj", "RUNNING")),
        (Output(0, "ƒ2kWzC5Xj|COMPLETED|balsam-1-aaaaaaaa\n"), Known("f2kWzC5Xj", "ENDED")),
        (Output(0, "ƒ2kWzC5Xj|TIMEOUT|balsam-1-aaaaaaaa\n"), Known("f2kWzC5Xj", "ENDED", "TIMEOUT")),
        (Output(0, "ƒ2kWzC5Xj|CANCELED|balsam-1-aaaaaaaa\n"), Known("f2kWzC5Xj", "CANCELLED")),
        (Output(0, "ƒ2kWzC5Xj|RUN|other\n"), Gone()),
        (Output(1, err="flux-jobs: ERROR: JobID ƒ2kWzC5Xj unknown\n"), Gone()),
        (
            Output(1, err="flux-jobs: ERROR: Unable to connect to Flux: broker socket was not found\n"),
            CannotTell("flux-jobs: ERROR: Unable to connect to Flux: broker socket was not found"),
        ),
    ],
)
def test_what_flux_jobs_says(output: Output, answer: Answer) -> None:
    assert FLUX.read_query([F], output) == {F: answer}


def test_flux_finds_a_job_by_its_name() -> None:
    assert FLUX.read_find(F.name, Output(0, "ƒ2kWzC5Xj|RUN|balsam-1-aaaaaaaa\n")) == Known("f2kWzC5Xj", "RUNNING")
    assert FLUX.read_find(F.name, Output(0, "")) == Gone()
    rows = "".join(f"{row}|balsam-1-aaaaaaaa\n" for row in ("ƒ1|FAILED", "ƒ2|SCHED", "ƒ3|RUN"))
    assert FLUX.read_find(F.name, Output(0, rows)) == Known("f2", "QUEUED", "", ("f3",))


def test_after_a_question_that_was_not_answered_no_other_is_asked() -> None:
    """Each would take as long, and cannot be told either."""

    def hang(call: Call) -> Output:
        asked.append(call)
        raise NoAnswer("bjobs did not answer within 30 s")

    asked: list[Call] = []
    tickets = [L, Ticket("balsam-2-bbbbbbbb"), Ticket("balsam-3-cccccccc")]
    silence = CannotTell("bjobs did not answer within 30 s")
    assert LSF.look(tickets, hang) == dict.fromkeys(tickets, silence)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("system", "said", "over"),
    [
        (PBS, "qdel: Unknown Job Id 11.pbs01", True),
        (PBS, "qdel: Job has finished 11.pbs01", True),
        (PBS, "qdel: Unauthorized Request 11.pbs01", False),
        (LSF, "Job <11>: No matching job found", True),
        (LSF, "Job <11>: Job has already finished", True),
        (LSF, "Job <11>: User permission denied", False),
        (COBALT, "11: Job not found", True),
        (COBALT, "permission denied", False),
        (FLUX, "flux-job: ƒ2kWzC5Xj: job is inactive", True),
        (FLUX, "flux-job: ƒ2kWzC5Xj: unknown job id", True),
        (FLUX, "flux-job: ƒ2kWzC5Xj: guests can only raise exceptions on their own jobs", False),
    ],
)
def test_a_job_that_cannot_be_cancelled_may_be_over(system: Commanded, said: str, over: bool) -> None:
    assert system.is_over(Output(1, err=said)) is over
