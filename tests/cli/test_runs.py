"""Jobs that run: `run`, `launcher`, `logs`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.site import Site
from tests.cli.conftest import Balsam, start
from tests.support.processes import Services, running_launcher
from tests.support.sites import jobs, states, wait_for_states, wait_until


@pytest.fixture
def _down_afterwards(site: Site, balsam_process: Balsam) -> Iterator[None]:
    yield
    assert balsam_process("down").status == 0


@pytest.mark.usefixtures("_down_afterwards")
def test_run_starts_what_is_missing_and_prints_the_output_of_the_job_only(balsam_process: Balsam, site: Site) -> None:
    result = balsam_process("run", "--", "echo", "hello  there")
    assert (result.status, result.out) == (0, "hello  there\n"), result.err
    assert "job store started" in result.err
    assert balsam_process("status").status == 0
    assert states(site) == {"echo": "JOB_FINISHED"}


@pytest.mark.usefixtures("services")
def test_run_exits_as_the_job_does(balsam_process: Balsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "fail.sh"
    script.write_text("#!/bin/sh\necho out\necho err >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    failed = balsam_process("run", "--name", "x", "./fail.sh")
    assert (failed.status, failed.out) == (3, "out\nerr\n")
    assert "exit code 3" in failed.err
    killed = balsam_process("run", "sh", "-c", "kill -TERM $$")
    assert killed.status == 128 + signal.SIGTERM
    missing = balsam_process("run", "--", "no-such-command", "--help")
    assert missing.status == 127
    assert "no-such-command" in missing.err
    assert balsam_process("run", "--num-nodes", "none", "--", "true").status == 1


@pytest.mark.usefixtures("services")
def test_the_input_of_run_is_not_that_of_the_job_as_its_help_says(site: Site, balsam: Balsam) -> None:
    command = [sys.executable, "-m", "balsam_cli", "run", "--", "wc", "-c"]
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}
    done = subprocess.run(command, input="data\n", capture_output=True, text=True, env=environ, timeout=60, check=True)
    assert done.stdout == "0\n"
    assert "its standard input is empty" in " ".join(balsam("run", "--help").out.split())


@pytest.mark.usefixtures("services")
def test_run_gives_what_no_launcher_here_can_run_up(balsam_process: Balsam, site: Site) -> None:
    result = balsam_process("run", "--name", "big", "--num-nodes", "1000", "--", "true")
    assert (result.status, result.out) == (1, "")
    assert "no launcher could run the job" in result.err
    assert states(site) == {"big": "USER_KILLED"}


@pytest.mark.usefixtures("services")
def test_the_output_of_run_comes_while_the_job_runs(site: Site, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with start(site, "run", "sh", "-c", f"echo first; until [ -e {go} ]; do sleep 0.05; done; echo last") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        go.touch()
        assert process.stdout.read() == "last\n"
        assert process.wait(30) == 0


@pytest.mark.usefixtures("services")
def test_run_that_is_interrupted_kills_its_job(site: Site, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with start(
        site, "run", "sh", "-c", f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 300"
    ) as run:
        wait_until(pid_file.exists, what="the job to start", site=site)
        pid = int(pid_file.read_text())
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 128 + signal.SIGINT
    assert states(site) == {"sh": "USER_KILLED"}
    wait_until(lambda: not Path(f"/proc/{pid}/exe").exists(), what="the process to end")


@pytest.mark.usefixtures("services")
def test_run_ends_its_job_when_nobody_reads_the_output(site: Site) -> None:
    with start(site, "run", "yes") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 1
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert states(site) == {"yes": "USER_KILLED"}


@pytest.mark.usefixtures("services")
def test_run_in_a_directory_of_ones_own_prints_the_new_output_only(balsam_process: Balsam, tmp_path: Path) -> None:
    for text in ("one", "two"):
        result = balsam_process("run", "--name", "x", "--user-workdir", str(tmp_path), "echo", text)
        assert (result.status, result.out) == (0, f"{text}\n")
    assert (tmp_path / "x.out").read_text() == "one\ntwo\n"


def test_run_without_a_site_makes_one_in_the_users_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def balsam(*argv: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "balsam_cli", *argv]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
        )

    first = balsam("run", "--", "pwd")
    site = Path(os.environ["XDG_DATA_HOME"]) / "balsam" / "site"
    monkeypatch.setenv("BALSAM_DB_PATH", str(site))
    try:
        assert first.returncode == 0, first.stderr
        assert first.stdout.startswith(f"{site}/data/run/")
        assert f"made the site {site}" in first.stderr
        monkeypatch.delenv("BALSAM_DB_PATH")
        second = balsam("run", "true")
        assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    finally:
        monkeypatch.setenv("BALSAM_DB_PATH", str(site))
        assert balsam("down").returncode == 0


@pytest.mark.usefixtures("services")
def test_run_leaves_other_jobs_alone(balsam: Balsam, balsam_process: Balsam, site: Site) -> None:
    balsam("job", "--name", "other", "--", "true")
    assert balsam_process("run", "--name", "mine", "true").status == 0
    assert states(site) == {"other": "PREPROCESSED", "mine": "JOB_FINISHED"}


@pytest.mark.usefixtures("services")
def test_the_launcher_runs_what_there_is_and_exits(balsam: Balsam, balsam_process: Balsam, site: Site) -> None:
    balsam("app", "--name", "greet", "--executable", "/bin/echo Hello")
    balsam("job", "--name", "a", "--wf", "w", "--app", "greet", "--args", "you")
    balsam("job", "--name", "b", "--wf", "other", "--app", "greet")
    balsam("job", "--name", "bad", "--wf", "w", "--", "no-such-command")
    nothing = balsam_process("launcher", "--wf-filter", "the")
    assert (nothing.status, nothing.err) == (0, "note: no job matches; workflow '*the*' would match 1\n")
    result = balsam_process("launcher", "--wf_filter", "w", "--job-mode", "serial")
    assert (result.status, result.err) == (0, "")
    wait_for_states(site, {"a": "JOB_FINISHED", "b": "PREPROCESSED", "bad": "FAILED"})
    (a, _, bad) = (job.job_id for job in jobs(site))
    assert balsam("logs", a).out == "Hello you\n"
    assert "no-such-command" in balsam("show", bad, "--json").json["message"]


@pytest.mark.usefixtures("services")
def test_a_launcher_at_work_is_seen(balsam: Balsam, site: Site) -> None:
    with running_launcher(site, "--persistent", "--wf-filter", "w"):
        wait_until(lambda: balsam("status", "--json").json["launchers"], what="the launcher", site=site)
        (launcher,) = balsam("status", "--json").json["launchers"]
        assert (launcher["kind"], launcher["workflow_filter"], launcher["nodes"]) == ("LAUNCHER", "w", 1)
        assert "LAUNCHER" in balsam("status").out
        assert balsam("job", "--wf", "w", "--", "true").err == ""
        assert "takes workflow 'w' only" in balsam("job", "--wf", "v", "--", "true").err
        assert "has 1 of the 2 nodes" in balsam("job", "--wf", "w", "--num-nodes", "2", "--", "true").err


def test_the_mpi_run_command_is_printed_without_running_anything(balsam_process: Balsam) -> None:
    result = balsam_process("launcher", "--print-command")
    assert result.status == 0, result.err
    assert result.out.strip()
    record = balsam_process("launcher", "--print-command", "--json", "--time-limit-minutes", "5").json
    assert (record["minutes"], record["serial"]) == (5, {"command": ["COMMAND"]})
    assert [node["name"] for node in record["nodes"]] == [os.uname().nodename]
    wrong = balsam_process("launcher", "--json")
    assert (wrong.status, "--json goes with --print-command" in wrong.err) == (2, True)


@pytest.mark.usefixtures("services")
def test_logs_follow_a_job_until_it_ends(balsam: Balsam, site: Site, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = f"echo first; until [ -e {go} ]; do sleep 0.05; done; printf last"
    (job_id,) = balsam("job", "--name", "two words", "--", "sh", "-c", script).ids
    nothing = balsam("logs", job_id)
    assert (nothing.status, nothing.out) == (1, "")
    assert "the job has not run" in nothing.err
    assert balsam("logs", job_id, "--json").json["output"] is None
    with start(site, "logs", job_id[:13], "-f") as process, running_launcher(site):
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        go.touch()
        assert process.stdout.read() == "last"
        assert process.wait(30) == 0
    assert balsam("logs", job_id).out == "first\nlast"
    told = balsam("logs", job_id, "--json").json
    assert (told["output"], told["bytes"], told["state"]) == ("first\nlast", 10, "JOB_FINISHED")
    assert balsam("logs", job_id, "-f", "--json").status == 2


def test_following_survives_a_job_store_that_is_killed(
    balsam: Balsam, site: Site, services: Services, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    (job_id,) = balsam("job", "--name", "a", "--", "sh", "-c", f"echo on; until [ -e {go} ]; do sleep 0.05; done").ids
    with start(site, "logs", job_id, "-f") as process, running_launcher(site):
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        services.kill("jobstore")
        services.start("jobstore")
        go.touch()
        assert process.wait(30) == 0


@pytest.mark.usefixtures("services")
def test_output_is_printed_byte_for_byte(balsam: Balsam, site: Site) -> None:
    (job_id,) = balsam("job", "--", "printf", r"\377\000\n").ids
    with running_launcher(site):
        wait_for_states(site, {"": "JOB_FINISHED"})
    command = [sys.executable, "-m", "balsam_cli", "logs", job_id]
    done = subprocess.run(command, capture_output=True, check=True, env=os.environ | {"BALSAM_DB_PATH": str(site.path)})
    assert done.stdout == b"\xff\x00\n"


@pytest.mark.usefixtures("services")
def test_a_running_job_is_deleted_only_when_it_may_be_killed(balsam: Balsam, site: Site) -> None:
    (job_id,) = balsam("job", "--name", "long", "--", "sleep", "300").ids
    with running_launcher(site):
        wait_for_states(site, {"long": "RUNNING"})
        directory = Path(balsam("show", job_id, "--json").json["working_directory"])
        refused = balsam("rm", "jobs", "--id", job_id, "--yes")
        assert refused.status == 1
        assert states(site) == {"long": "RUNNING"}
        assert balsam("rm", "jobs", "--id", job_id, "--yes", "--kill", "--workdirs").status == 0
    assert not directory.exists()
    assert balsam("ls", "--json").json == []


@pytest.mark.usefixtures("services")
def test_a_running_application_adds_jobs_with_the_command(balsam: Balsam, site: Site) -> None:
    inner = f"{sys.executable} -m balsam_cli mkchild --name child --args true --json"
    (parent,) = balsam("job", "--name", "parent", "--", "sh", "-c", inner).ids
    with running_launcher(site):
        wait_for_states(site, {"parent": "JOB_FINISHED", "child": "JOB_FINISHED"})
    (child,) = json.loads(balsam("logs", parent).out)
    assert balsam("show", child, "--json").json["parents"] == [parent]
