"""What an answer of a batch system changes in a launch; and how commands are run."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from balsam_scheduler.batch import records
from balsam_scheduler.batch.answers import Answer, CannotTell, Gone, Known
from balsam_scheduler.batch.calls import Call, CannotRun, NoAnswer, Output, run
from balsam_scheduler.batch.looking import PATIENCE_SECONDS, TWICE_SECONDS, changes
from balsam_scheduler.batch.systems import choose

MADE = datetime(2026, 11, 30, tzinfo=UTC)
SOON, LATE = MADE.timestamp() + 1, MADE.timestamp() + PATIENCE_SECONDS + 1
AWAY = CannotTell("the controller is away")
NEVER = {"state": "SUBMIT_FAILED", "message": "it was never accepted: the batch system has no such job"}
UNKNOWN = {"state": "UNKNOWN", "message": "the controller is away"}


def changed(
    state: str,
    answer: Answer,
    now: float,
    *,
    job_id: str = "11",
    message: str = "",
    tail: str = "",
    at_work: bool = False,
) -> Any:
    values = {"launch_id": 1, "create_time": MADE, "state": state, "scheduler_id": job_id, "message": message}
    return changes(records.of_values(values), answer, tail, now, at_work=at_work)


@pytest.mark.parametrize("state", ["QUEUED", "RUNNING", "UNKNOWN"])
def test_what_cannot_be_told_is_unknown_and_never_over(state: str) -> None:
    assert changed(state, AWAY, LATE) == UNKNOWN


def test_a_submission_that_is_under_way_is_left_alone_for_a_while() -> None:
    pending = records.PENDING
    assert changed(pending, AWAY, SOON, job_id="") == {}
    assert changed(pending, Gone(), SOON, job_id="") == {}
    assert changed(pending, AWAY, LATE, job_id="") == UNKNOWN
    assert changed(pending, Gone(), LATE, job_id="") == NEVER
    assert changed("UNKNOWN", Gone(), LATE, job_id="") == NEVER
    found = {"scheduler_id": "11", "state": "QUEUED", "message": ""}
    assert changed(pending, Known("11", "QUEUED"), SOON, job_id="") == found
    assert changed("UNKNOWN", Known("11", "QUEUED"), LATE, job_id="", message="doubt") == found


GONE = "it is gone (first at 2026-11-30T00:00:01+00:00; it is asked once more)"


@pytest.mark.parametrize("state", ["QUEUED", "RUNNING", "UNKNOWN"])
def test_one_that_was_there_and_is_gone_has_ended_when_that_is_said_twice(state: str) -> None:
    gone = Gone("it is gone")
    assert changed(state, gone, SOON, tail="one") == {"state": "UNKNOWN", "message": GONE}
    assert changed("UNKNOWN", gone, SOON + TWICE_SECONDS - 1, message=GONE) == {}
    assert changed("UNKNOWN", gone, SOON + TWICE_SECONDS, message=GONE, tail="one\n two") == {
        "state": "ENDED",
        "message": "it is gone; its output ends with: one | two",
    }


def test_what_is_found_again_or_cannot_be_told_was_not_gone() -> None:
    assert changed("UNKNOWN", Known("11", "RUNNING"), LATE, message=GONE)["state"] == "RUNNING"
    assert changed("UNKNOWN", AWAY, LATE, message=GONE) == UNKNOWN
    assert changed("UNKNOWN", Gone(), LATE, message="the controller is away")["state"] == "UNKNOWN"


@pytest.mark.parametrize("job_id", ["", "11"])
def test_one_whose_launcher_is_at_work_is_not_gone_however_often_that_is_said(job_id: str) -> None:
    for state, message in (("RUNNING", ""), ("QUEUED", ""), ("UNKNOWN", GONE)):
        told = changed(state, Gone("it is gone"), LATE, job_id=job_id, message=message, at_work=True)
        assert told == {"state": "UNKNOWN", "message": "its launcher is at work, though it is gone"}


@pytest.mark.parametrize("now", [SOON, LATE])
def test_one_that_its_launcher_has_made_running_was_accepted(now: float) -> None:
    assert changed("RUNNING", Gone("it is gone"), now, job_id="")["state"] == "UNKNOWN"


@pytest.mark.parametrize(
    ("answer", "state", "message"),
    [
        (Known("11", "QUEUED", "Priority"), "QUEUED", "Priority"),
        (Known("11", "RUNNING"), "RUNNING", "its launcher is process 7"),
        (Known("11", "QUEUED"), "QUEUED", ""),
        (Known("11", "ENDED", "TIMEOUT"), "ENDED", "TIMEOUT; its output ends with: the end"),
        (Known("11", "CANCELLED", "CANCELLED"), "CANCELLED", "CANCELLED; its output ends with: the end"),
    ],
)
def test_what_is_known_is_recorded(answer: Known, state: str, message: str) -> None:
    told = changed("RUNNING", answer, SOON, message="its launcher is process 7", tail="the end")
    assert told == {"scheduler_id": "11", "state": state, "message": message}


@pytest.mark.parametrize(
    ("system", "reason", "message"),
    [
        ("slurm", "Resources", "Resources"),
        (
            "slurm",
            "PartitionTimeLimit",
            "PartitionTimeLimit: it asks for more minutes than it may have there; it does not start by itself",
        ),
        ("cobalt", "user_hold", "user_hold: somebody must change that; it does not start by itself"),
    ],
)
def test_a_reason_that_does_not_go_away_by_itself_is_told_with_what_it_means(
    system: str, reason: str, message: str
) -> None:
    values = {"launch_id": 1, "create_time": MADE, "state": "QUEUED", "scheduler_id": "11", "batch_system": system}
    told = changes(records.of_values(values), Known("11", "QUEUED", reason), "", SOON)
    assert told == {"scheduler_id": "11", "state": "QUEUED", "message": message}


def test_a_command_is_run_and_heard() -> None:
    done = run(Call(("sh", "-c", "cat; echo no >&2; exit 3"), "input"))
    assert done == Output(3, "input", "no\n")
    assert done.complaint == "no"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (Output(1, err="sbatch: error: invalid partition: x\nsbatch: error: Batch job submission failed\n"), None),
        (Output(1, out="qsub: no such queue\n"), "qsub: no such queue"),
        (Output(1, err="a\n\n  b\na\n", out="c"), "a | b"),
        (Output(1, err="\n".join("abcdefghij")), "a | ... | e | f | g | h | i | j"),
        (Output(3), "it said nothing and ended with 3"),
    ],
)
def test_of_what_a_command_complains_about_all_lines_are_told(output: Output, said: str | None) -> None:
    whole = "sbatch: error: invalid partition: x | sbatch: error: Batch job submission failed"
    assert output.complaint == (said or whole)
    assert len(Output(1, err="x" * 10_000).complaint) == 2000


def test_a_command_that_is_missing_or_no_program() -> None:
    with pytest.raises(CannotRun, match=r"^there is no program 'no-such-sbatch' on PATH$"):
        run(Call(("no-such-sbatch",)))
    with pytest.raises(CannotRun, match=r"'/etc/passwd' cannot be run: Permission denied"):
        run(Call(("/etc/passwd",)))


@pytest.mark.parametrize("end", ["wait", "exit 0"])
def test_a_command_that_hangs_is_killed_with_all_that_it_has_started(tmp_path: Path, end: str) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/pid; {end}"
    began = time.monotonic()
    with pytest.raises(NoAnswer, match=r"^sh did not answer within 0\.5 s$"):
        run(Call(("sh", "-c", script)), seconds=0.5)
    assert time.monotonic() - began < 10
    pid = int((tmp_path / "pid").read_text())
    stat = Path(f"/proc/{pid}/stat")
    while stat.exists() and stat.read_text().split()[2] != "Z":
        assert time.monotonic() - began < 10
        time.sleep(0.01)


def test_a_command_does_not_get_the_variables_that_it_is_to_be_without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SQUEUE_FORMAT", "SQUEUE_USERS", "SLURM_CONF", "SBATCH_PARTITION"):
        monkeypatch.setenv(name, "of-the-test")
    print_names = "import os; print(*(name for name, value in os.environ.items() if value == 'of-the-test'))"
    call = Call((sys.executable, "-c", print_names), without=("SQUEUE_*", "SBATCH_PARTITION"))
    assert run(call).out == "SLURM_CONF\n"


def test_a_run_does_not_hand_its_credential_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALSAM_JOB_TOKEN", "secret")
    print_token = "import os; print(os.environ.get('BALSAM_JOB_TOKEN'))"
    assert run(Call((sys.executable, "-c", print_token))).out == "None\n"


@pytest.mark.parametrize(
    ("programs", "name"),
    [
        ([], "local"),
        (["sbatch", "squeue"], "slurm"),
        (["sbatch"], "local"),
        (["qsub", "qstat"], "pbs"),
        (["qsub", "qstat", "cqstat"], "cobalt"),
        (["bsub", "bjobs"], "lsf"),
        (["flux"], "flux"),
        (["flux", "sbatch", "squeue"], "slurm"),
    ],
)
def test_the_commands_on_path_tell_which_system_it_is(tmp_path: Path, programs: list[str], name: str) -> None:
    for program in programs:
        (tmp_path / program).touch(0o755)
    assert choose("auto", str(tmp_path), lambda call: Output(0)).name == name
    assert choose("lsf", str(tmp_path)).name == "lsf"


def test_a_slurm_that_belongs_to_no_cluster_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def say(call: Call) -> Output:
        return Output(
            1,
            err="squeue: error: resolve_ctls_from_dns_srv: ...\nsqueue: fatal: Could not establish a"
            " configuration source\n",
        )

    for program in ("sbatch", "squeue", "qsub", "qstat"):
        (tmp_path / program).touch(0o755)
    monkeypatch.setattr("balsam_scheduler.batch.systems.slurm._CONFIGURATIONS", (str(tmp_path / "slurm.conf"),))
    monkeypatch.delenv("SLURM_CONF", raising=False)
    assert choose("auto", str(tmp_path), say).name == "pbs"
    monkeypatch.setenv("SLURM_CONF", "/a/cluster")
    assert choose("auto", str(tmp_path), say).name == "slurm"
    monkeypatch.delenv("SLURM_CONF")
    (tmp_path / "slurm.conf").touch()
    assert choose("auto", str(tmp_path), say).name == "slurm"
