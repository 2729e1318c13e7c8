"""What a drill would say of anything that was not as promised."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from balsam_cli.drill import verdict, witness
from balsam_cli.drill.verdict import Job
from balsam_cli.drill.witness import Witness

ONCE = Job(
    name="once",
    state="JOB_FINISHED",
    attempt=1,
    leased=False,
    entered=["CREATED", "RUNNING", "RUN_DONE", "JOB_FINISHED"],
    witness=Witness(begun=(1,), ended=(1,)),
)
TWICE = dataclasses.replace(ONCE, name="twice", attempt=3, witness=Witness(begun=(1, 3), ended=(3,)))


def broken(*jobs: Job, expected: int | None = None) -> list[str]:
    """The promises that were not kept."""
    found = verdict.points(jobs, len(jobs) if expected is None else expected)
    return [point.check for point in found if not point.kept]


def test_a_job_that_was_begun_again_after_a_kill_is_as_promised() -> None:
    assert broken(ONCE, TWICE) == []
    assert verdict.begun_again([ONCE, TWICE]) == 1


def test_a_run_that_ended_unheard_and_ran_again_is_as_promised() -> None:
    assert broken(dataclasses.replace(TWICE, witness=Witness(begun=(1, 3), ended=(1, 3)))) == []


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("each finished", {"state": "FAILED"}),
        ("each ran to its end", {"witness": Witness(begun=(1,)), "attempt": 1}),
        ("recorded exactly once", {"entered": ["RUN_DONE", "JOB_FINISHED", "RUN_DONE", "JOB_FINISHED"]}),
        ("recorded exactly once", {"entered": ["JOB_FINISHED"]}),
        ("no two runs at a time", {"witness": Witness(begun=(1,), ended=(1,), overlapping=(1,))}),
        ("each attempt began once", {"witness": Witness(begun=(1, 1), ended=(1,))}),
        ("each attempt began once", {"witness": Witness(begun=(2, 1), ended=(1,))}),
        ("the right attempt counts", {"attempt": 2}),
        ("no lease left", {"leased": True}),
    ],
)
def test_whatever_is_not_as_promised_is_found(check: str, change: dict[str, Any]) -> None:
    assert check in broken(ONCE, dataclasses.replace(ONCE, name="bad", **change))


def test_a_job_that_is_not_there_is_lost() -> None:
    assert broken(ONCE, expected=2) == ["none lost"]


def test_what_a_kill_cut_off_is_no_word_of_a_witness(tmp_path: Path) -> None:
    (tmp_path / witness.NAME).write_text("begin 1 77\nend 1")
    assert witness.read(tmp_path) == Witness(begun=(1,))
    assert witness.read(tmp_path / "never-ran") == Witness()


def test_a_run_beside_another_one_says_so(tmp_path: Path) -> None:
    import fcntl
    import os
    import subprocess
    import sys

    (tmp_path / "witness.py").write_text(witness.PROGRAM)
    command = [sys.executable, "-I", "-S", str(tmp_path / "witness.py")]
    environ = os.environ | {"BALSAM_ATTEMPT": "2"}
    with (tmp_path / witness.NAME).open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with subprocess.Popen(command, cwd=tmp_path, env=environ) as process:
            while not witness.read(tmp_path).overlapping:
                assert process.poll() is None
            fcntl.flock(other, fcntl.LOCK_UN)
    assert process.returncode == 0
    assert witness.read(tmp_path) == Witness(begun=(2,), ended=(2,), overlapping=(2,))
