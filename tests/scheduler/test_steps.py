"""Each step of the slow path, with real files and real scripts."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from balsam.processes import Tree
from balsam.site import Site
from balsam.states import State
from balsam.v1.job_pb2 import Job
from balsam.v1.lease_pb2 import Grant, Program
from balsam_scheduler.limits import Limit, Stopped
from balsam_scheduler.linking import Parent
from balsam_scheduler.programs import Runner
from balsam_scheduler.steps import Outcome, Step, Steps

JOB_ID = str(uuid.uuid4())  # a guard kills what bears the mark, whichever test has started it


class NobodyListens:
    """A watch for programs that nobody has to be told of."""

    def add(self, tree: Tree) -> None:
        pass

    def remove(self, tree: Tree) -> None:
        pass


class Bench:
    """One job, whose steps are done here."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.parents: list[Parent] = []
        self.directory = site.data / "wf" / "job_01234567"
        self.limit_seconds = 30.0
        self.steps = Steps(site, Runner(NobodyListens(), 1.0), self._find_parents)

    def _find_parents(self, ids: Sequence[str], limit: Limit) -> list[Parent]:
        assert list(ids) == [parent.job_id for parent in self.parents]
        return self.parents

    def do(self, state: State, program: Program | None = None, *, tries: int = 1, **fields: Any) -> Outcome:
        values = {
            "job_id": JOB_ID,
            "name": "job",
            "working_directory": str(self.directory),
            "parents": [parent.job_id for parent in self.parents],
        }
        job = Job(state=state.value, **(values | fields))
        grant = Grant(job=job, token="the-token", script_attempt=tries)
        limit = Limit(self.limit_seconds)
        try:
            return self.steps.do(Step(grant, program or Program(), limit))
        finally:
            limit.close()

    def script(self, text: str) -> str:
        """A command line that runs this shell text."""
        path = self.site.path / "script.sh"
        path.write_text(text)
        return f"sh {path}"

    def text(self, name: str) -> str:
        return (self.directory / name).read_text()


@pytest.fixture
def bench(site: Site) -> Bench:
    return Bench(site)


def variables(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


# Scripts


def test_a_script_runs_in_the_working_directory_and_writes_to_its_log(bench: Bench) -> None:
    program = Program(preprocess=bench.script("pwd; echo wrong >&2; echo made > input.dat"))
    assert bench.do(State.STAGED_IN, program) == Outcome(State.PREPROCESSED)
    assert bench.text("preprocess.log") == f"{bench.directory}\nwrong\n"
    assert bench.text("input.dat") == "made\n"


def test_a_log_is_appended_to(bench: Bench) -> None:
    program = Program(postprocess=bench.script("echo once"))
    for _ in range(2):
        assert bench.do(State.RUN_DONE, program) == Outcome(State.POSTPROCESSED)
    assert bench.text("postprocess.log") == "once\nonce\n"


def test_the_environment_of_a_script(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_THE_SCHEDULER", "yes")
    monkeypatch.setenv("BALSAM_LAUNCHER_NODES", "8")  # of a run that has started the services
    bench.parents = [Parent("11111111-1111-1111-1111-111111111111", bench.site.data)]
    program = Program(preprocess=bench.script("env"))
    bench.do(State.STAGED_IN, program, tries=3, environ_vars={"MINE": "a:b=c"}, threads_per_rank=4)
    seen = variables(bench.text("preprocess.log"))
    expected = {
        "BALSAM_DB_PATH": str(bench.site.path),
        "BALSAM_JOB_ID": JOB_ID,
        "BALSAM_ATTEMPT": "3",
        "BALSAM_PARENT_IDS": '["11111111-1111-1111-1111-111111111111"]',
        "BALSAM_JOB_TOKEN": "the-token",
        "OMP_NUM_THREADS": "4",
        "MINE": "a:b=c",
        "FROM_THE_SCHEDULER": "yes",
    }
    assert {name: seen.get(name) for name in expected} == expected
    assert not {"BALSAM_LAUNCHER_NODES", "BALSAM_JOB_ERROR", "BALSAM_JOB_TIMEOUT"} & seen.keys()


@pytest.mark.parametrize(
    ("state", "variable"), [(State.RUN_ERROR, "BALSAM_JOB_ERROR"), (State.RUN_TIMEOUT, "BALSAM_JOB_TIMEOUT")]
)
def test_a_handler_is_told_what_it_handles_and_must_move_the_job(bench: Bench, state: State, variable: str) -> None:
    outcome = bench.do(state, Program(postprocess=bench.script("env")), message="exit code 7")
    seen = variables(bench.text("postprocess.log"))
    assert {name for name in seen if name in ("BALSAM_JOB_ERROR", "BALSAM_JOB_TIMEOUT")} == {variable}
    assert seen[variable] == "TRUE"
    assert outcome == Outcome(
        State.FAILED, f"postprocess handled {state.name} and left the state as it was: exit code 7"
    )


def test_python_files_run_under_the_interpreter_of_the_application(bench: Bench) -> None:
    script = bench.site.path / "script.py"
    script.write_text("import sys; print(sys.executable, sys.argv[1:])")
    program = Program(preprocess=f"{script} 'two words'", python=sys.executable)
    assert bench.do(State.STAGED_IN, program).state is State.PREPROCESSED
    assert bench.text("preprocess.log") == f"{sys.executable} ['two words']\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo almost; echo no good; exit 3", "preprocess failed: exit code 3\nalmost\nno good"),
        ("exit 1", "preprocess failed: exit code 1"),
        ("kill -KILL $$", "preprocess failed: killed by SIGKILL (9)"),
    ],
)
def test_a_script_that_fails_says_with_what(bench: Bench, text: str, reason: str) -> None:
    bench.do(State.STAGED_IN, Program(preprocess=bench.script("echo of the time before")))
    assert bench.do(State.STAGED_IN, Program(preprocess=bench.script(text))) == Outcome(State.FAILED, reason)


def test_a_script_over_its_limit_is_stopped(bench: Bench) -> None:
    bench.limit_seconds = 0.3
    outcome = bench.do(State.RUN_DONE, Program(postprocess=bench.script("echo so far; sleep 60")))
    assert outcome == Outcome(
        State.FAILED, "postprocess was stopped at its limit of 0.3 s (the setting script_timeout_seconds)\nso far"
    )


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("no-such-program -x", "preprocess cannot be started: there is no program 'no-such-program'"),
        ("/etc", "preprocess cannot be started: '/etc' is not executable"),
        ("'unclosed", 'preprocess failed: "\'unclosed" does not split into words: No closing quotation'),
    ],
)
def test_a_script_that_cannot_be_started_says_why(bench: Bench, command: str, reason: str) -> None:
    assert bench.do(State.STAGED_IN, Program(preprocess=command)) == Outcome(State.FAILED, reason)


def test_a_log_that_is_a_link_is_not_written_through(bench: Bench, tmp_path: Path) -> None:
    bench.directory.mkdir(parents=True)
    (bench.directory / "preprocess.log").symlink_to(tmp_path / "elsewhere")
    outcome = bench.do(State.STAGED_IN, Program(preprocess=bench.script("echo hello")))
    assert outcome.state is State.FAILED
    assert "preprocess.log" in outcome.message
    assert not (tmp_path / "elsewhere").exists()


def test_a_step_that_is_stopped_has_no_outcome(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limit, "begin", lambda limit, seconds: limit.stop())  # at the first moment
    with pytest.raises(Stopped):
        bench.do(State.STAGED_IN, Program(preprocess=bench.script("sleep 60")))


# Stage-in and stage-out


def test_stage_in_copies_and_links(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "common.dat").write_text("copied")
    parent = Parent("11111111-1111-1111-1111-111111111111", tmp_path / "parent")
    parent.directory.mkdir()
    for name in ("common.dat", "job.out", "result.dat", "other.txt"):
        (parent.directory / name).write_text(f"parent's {name}")
    bench.parents = [parent]
    outcome = bench.do(State.READY, stage_in_url=f"local:{tmp_path}/in", input_files="*.dat *.out")
    assert outcome == Outcome(State.STAGED_IN)
    assert {entry.name: entry.read_text() for entry in bench.directory.iterdir()} == {
        "common.dat": "copied",
        "common.dat_11111111": "parent's common.dat",
        "job.out_11111111": "parent's job.out",
        "result.dat": "parent's result.dat",
    }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"stage_in_url": "/no/such/place"}, "stage-in failed: /no/such/place: No such file or directory"),
        ({"stage_in_url": "rsync:host:/x"}, "rsync cannot be started: there is no program 'rsync'"),
        ({"stage_in_url": "scp:"}, "stage-in failed: scp:: names no place; write scp:HOST:PATH"),
        ({"input_files": "../../*"}, "stage-in failed: the pattern '../../*' leads out of the directory"),
        ({"input_files": "'x"}, "stage-in failed: No closing quotation"),
    ],
)
def test_a_stage_in_that_fails_says_why(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], reason: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    bench.parents = [Parent("11111111-1111-1111-1111-111111111111", bench.site.data)]
    outcome = bench.do(State.READY, **fields)
    assert outcome.state is State.FAILED
    assert outcome.message.startswith(reason)


def test_a_program_that_cannot_copy_is_quoted(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = tmp_path / "bin" / "scp"
    stand_in.parent.mkdir()
    stand_in.write_text("#!/bin/sh\necho 'ssh: host unreachable' >&2; exit 255\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    outcome = bench.do(State.READY, stage_in_url="scp:host:/x")
    assert outcome == Outcome(State.FAILED, "copying with scp failed: exit code 255\nssh: host unreachable")
    assert not list(bench.directory.iterdir())


def test_stage_out_copies_and_says_what_it_left_out(bench: Bench, tmp_path: Path) -> None:
    bench.directory.mkdir(parents=True)
    (bench.directory / "result.dat").write_text("42")
    (bench.directory / "input.dat").symlink_to("/etc/hostname")
    outcome = bench.do(State.POSTPROCESSED, stage_out_url=f"{tmp_path}/out", stage_out_files="*.dat")
    assert outcome.state is State.JOB_FINISHED
    assert outcome.message.endswith("input.dat")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["result.dat"]


def test_a_working_directory_that_is_gone_has_nothing_to_stage_out(bench: Bench, tmp_path: Path) -> None:
    outcome = bench.do(State.POSTPROCESSED, stage_out_url=f"{tmp_path}/out", stage_out_files="*")
    assert outcome == Outcome(State.FAILED, f"stage-out failed: {bench.directory.parent}: No such file or directory")


# Directories


def test_a_link_does_not_lead_a_working_directory_out_of_the_site(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    bench.directory.parent.symlink_to(tmp_path / "outside")
    outcome = bench.do(State.READY, stage_in_url="/etc/hostname")
    assert outcome.state is State.FAILED
    assert f"{bench.directory.parent}: is a symbolic link" in outcome.message
    assert not list((tmp_path / "outside").iterdir())


def test_a_directory_of_the_users_choice_may_be_anywhere(bench: Bench, tmp_path: Path) -> None:
    bench.directory = tmp_path / "mine"
    outcome = bench.do(State.STAGED_IN, Program(preprocess=bench.script("pwd")), user_workdir=str(bench.directory))
    assert outcome.state is State.PREPROCESSED
    assert bench.text("preprocess.log") == f"{bench.directory}\n"


def test_a_file_in_the_way_of_the_working_directory_fails_that_job(bench: Bench) -> None:
    bench.directory.parent.write_text("")
    outcome = bench.do(State.READY, stage_in_url="/etc/hostname")
    assert outcome == Outcome(State.FAILED, f"stage-in failed: {bench.directory.parent}: Not a directory")


def test_a_mistake_of_ours_fails_that_job_and_is_logged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(ids: Sequence[str], limit: Limit) -> list[Parent]:
        raise RuntimeError("no such luck")

    bench.parents = [Parent("11111111-1111-1111-1111-111111111111", bench.site.data)]
    bench.steps = Steps(bench.site, Runner(NobodyListens(), 1.0), broken)
    outcome = bench.do(State.READY, input_files="*")
    assert outcome == Outcome(State.FAILED, "stage-in failed: RuntimeError: no such luck (see the scheduler's log)")
    assert JOB_ID in caplog.text
