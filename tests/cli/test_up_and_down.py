"""Services started, seen and stopped by the command line."""

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
from tests.cli.conftest import Balsam, Result, start
from tests.support.sites import wait_until

NOT_RUNNING = "the services are not running; start them with `balsam up`"
NEITHER_RUNS = "the job store and the scheduler are not running; start them with `balsam up`"


@pytest.fixture(autouse=True)
def _down(site: Site, balsam_process: Balsam) -> Iterator[None]:
    yield
    for name in ("jobstore", "scheduler"):
        info = site.read_info(name)
        if info and info["host"] != os.uname().nodename:
            (site.run / f"{name}.json").unlink()
    assert balsam_process("down").status == 0


def pids(result: Result) -> dict[str, int]:
    return {service["name"]: service["pid"] for service in result.json["services"]}


def test_up_starts_both_and_a_second_up_says_so(balsam_process: Balsam) -> None:
    first = balsam_process("up", "--json")
    assert first.status == 0
    assert {s["name"]: s["state"] for s in first.json["services"]} == {"jobstore": "started", "scheduler": "started"}
    second = balsam_process("up")
    assert second.status == 0
    assert second.out.startswith("already up (job store: pid ")
    status = balsam_process("status", "--json")
    assert status.status == 0
    assert pids(status) == pids(first)
    assert status.json["up"] is True


def test_down_stops_both_and_then_has_nothing_to_do(balsam_process: Balsam, site: Site) -> None:
    balsam_process("up")
    stopped = balsam_process("down", "--json").json["stopped"]
    assert [(one["name"], one["killed"]) for one in stopped] == [("scheduler", False), ("jobstore", False)]
    assert site.read_info("jobstore") == {}
    assert balsam_process("down").out == "not running\n"


def test_status_says_when_nothing_runs(balsam_process: Balsam) -> None:
    status = balsam_process("status", "--json")
    assert status.status == 1
    assert status.json["up"] is False
    assert NEITHER_RUNS in status.err


def test_commands_say_that_the_services_do_not_run(balsam: Balsam) -> None:
    for argv in ("ls", "job --name a -- true", "kill 1234", "show 1234", "launcher", "rm jobs --all"):
        result = balsam(*argv.split())
        assert (result.status, result.out, result.err) == (1, "", f"balsam: {NOT_RUNNING}\n")


def test_what_was_killed_is_started_again_and_nothing_is_lost(balsam_process: Balsam) -> None:
    before = pids(balsam_process("up", "--json"))
    (job_id,) = balsam_process("job", "--name", "a", "--", "true").ids
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    assert balsam_process("status").status == 1
    assert balsam_process("ls").err == f"balsam: {NOT_RUNNING}\n"
    after = pids(balsam_process("up", "--json"))
    assert not set(before.values()) & set(after.values())
    assert [row["job_id"] for row in balsam_process("ls", "--json").json] == [job_id]


@pytest.fixture
def silent(balsam_process: Balsam) -> Iterator[int]:
    """The process id of a job store that runs, and does not answer."""
    pid = pids(balsam_process("up", "--json"))["jobstore"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGCONT)


def test_of_a_job_store_that_runs_and_is_silent_everybody_says_just_that(
    balsam_process: Balsam, silent: int, monkeypatch: pytest.MonkeyPatch, balsam: Balsam, tmp_path: Path
) -> None:
    said = f"the job store (pid {silent} on {os.uname().nodename}) is running, but does not answer; see `balsam log`"
    assert balsam_process("status").err == f"balsam: {said}\n"
    monkeypatch.setattr("balsam.rpc.RETRY_SECONDS", 0.5)
    monkeypatch.setattr("balsam_cli.services.SILENT_SECONDS", 0.5)
    for argv in ("ls", "job --name a -- true", "show 1234", "kill 1234", f"export {tmp_path}/x"):
        result = balsam(*argv.split())
        assert (result.status, result.out, result.err) == (1, "", f"balsam: {said}\n"), argv
    up = balsam("up")
    assert (up.status, up.out) == (1, "")
    assert up.err.startswith(f"balsam: {said}; `balsam down` ends it")
    assert len(up.err.splitlines()) == 1


def test_one_service_that_is_gone_is_started_alone(balsam_process: Balsam) -> None:
    before = pids(balsam_process("up", "--json"))
    os.kill(before["scheduler"], signal.SIGKILL)
    assert balsam_process("status").err == "balsam: the scheduler is not running; start it with `balsam up`\n"
    again = balsam_process("up", "--json").json["services"]
    assert [service["state"] for service in again] == ["up", "started"]
    assert again[0]["pid"] == before["jobstore"]


def test_several_at_once_start_one_of_each(site: Site) -> None:
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}
    command = [sys.executable, "-m", "balsam_cli", "up", "--json"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) for _ in range(4)]
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0, 0]
    assert len({tuple(service["pid"] for service in answer["services"]) for answer in answers}) == 1


def test_services_keep_nothing_of_the_terminal_that_started_them(balsam_process: Balsam) -> None:
    for pid in pids(balsam_process("up", "--json")).values():
        process = Path(f"/proc/{pid}")
        assert os.getsid(pid) == pid != os.getsid(0)
        assert os.readlink(process / "cwd") == "/"
        assert os.readlink(process / "fd" / "0") == "/dev/null"
        assert not any("pipe" in os.readlink(process / "fd" / n) for n in ("1", "2"))


def test_up_returns_though_its_output_is_a_pipe_that_somebody_reads_to_the_end(site: Site) -> None:
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}
    command = f"{sys.executable} -m balsam_cli up | cat; {sys.executable} -m balsam_cli status 2>&1 | cat"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environ, timeout=60, check=True)
    assert "job store started" in done.stdout


def test_a_service_that_does_not_start_says_why(balsam_process: Balsam, site: Site) -> None:
    settings = site.path / "settings.toml"
    good = settings.read_text()
    settings.write_text(good + "speed = 11\n")
    result = balsam_process("up")
    assert (result.status, result.out) == (1, "")
    assert "the job store does not start:" in result.err
    assert "'speed'" in result.err
    assert len(result.err.splitlines()) == 1
    settings.write_text(good)
    assert balsam_process("up").status == 0


def test_services_of_another_host_are_left_alone(balsam_process: Balsam, site: Site) -> None:
    site.make_run()
    site.write_info("jobstore", pid=1, host="elsewhere", start_time=0.0)
    for command in ("up", "down", "status", "ls"):
        result = balsam_process(command)
        assert result.status == 1
        assert f"the services of {site.path} run on elsewhere" in result.err


@pytest.mark.parametrize("values", [{"pid": "x"}, {"pid": None}])
def test_what_a_service_says_of_itself_may_be_damaged(values: dict[str, object], balsam: Balsam, site: Site) -> None:
    site.make_run()
    site.write_info("jobstore", host=os.uname().nodename, **values)
    result = balsam("status")
    assert (result.status, result.err) == (1, f"balsam: {NEITHER_RUNS}\n")


def test_a_process_that_took_over_the_id_is_not_taken_for_a_service(balsam_process: Balsam, site: Site) -> None:
    site.make_run()
    with subprocess.Popen(["sleep", "60"]) as bystander:
        site.write_info("jobstore", pid=bystander.pid, host=os.uname().nodename, start_time=0.0)
        assert balsam_process("down").out == "not running\n"
        assert balsam_process("up").status == 0
        assert bystander.poll() is None
        bystander.kill()


def test_foreground_serves_until_it_is_told_to_stop(site: Site, balsam_process: Balsam) -> None:
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}
    command = [sys.executable, "-m", "balsam_cli", "up", "--foreground"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"up: {site.path}\n"
        assert balsam_process("status").status == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert balsam_process("status").status == 1


def test_foreground_ends_when_a_service_ends(site: Site) -> None:
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}
    command = [sys.executable, "-m", "balsam_cli", "up", "--foreground"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(site.read_info("scheduler")["pid"], signal.SIGKILL)
        assert process.wait(30) == 1
    wait_until(lambda: not site.read_info("jobstore"), what="the job store to stop", site=site)


def test_which_shows_what_the_server_says(balsam_process: Balsam, site: Site) -> None:
    balsam_process("up")
    shown = balsam_process("which", "--json").json
    assert (shown["path"], shown["state"], shown["database"]) == (str(site.path), "up", "sqlite")
    assert shown["pid"] == site.read_info("jobstore")["pid"]


def test_logs_of_the_services_are_shown(balsam_process: Balsam) -> None:
    balsam_process("up")
    result = balsam_process("log", "--lines", "1")
    assert "==> jobstore.log <==" in result.out
    assert "no such log" in balsam_process("log", "--name", "x").err
    told = balsam_process("log", "--lines", "1", "--json").json
    assert [(log["name"], len(log["lines"])) for log in told if log["name"] == "jobstore"] == [("jobstore", 1)]
    assert balsam_process("log", "--name", "x", "--json").json == []


def test_logs_are_followed_until_interrupted(balsam_process: Balsam, site: Site) -> None:
    (site.log / "jobstore.log").write_text("one\n")
    command = [sys.executable, "-m", "balsam_cli", "log", "-f"]
    with subprocess.Popen(
        command, env=os.environ | {"BALSAM_DB_PATH": str(site.path)}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)] == ["==> jobstore.log <==\n", "one\n", "\n"]
        with (site.log / "jobstore.log").open("a") as log:
            log.write("two\n")
        assert [process.stdout.readline() for _ in range(3)] == ["==> jobstore.log <==\n", "two\n", "\n"]
        (site.log / "launcher-n1-1.log").write_text("of a launcher that was started meanwhile\n")
        assert process.stdout.readline() == "==> launcher-n1-1.log <==\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_following_logs_ends_with_who_reads_them(site: Site) -> None:
    (site.log / "jobstore.log").write_text("one\n")
    with start(site, "log", "-f") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "==> jobstore.log <==\n"
        process.stdout.close()
        try:
            assert process.wait(20) == 1  # though nothing more is logged
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.stderr.read() == ""
