"""The drill: on real sites, and where it must fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.rpc import Connection
from balsam.site import Site
from balsam.v1 import session_service_pb2
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from balsam_cli import process as processes
from balsam_cli.drill.drill import Drill
from balsam_cli.drill.launchers import ENV_DRILL, marked
from balsam_cli.drill.plan import Plan
from tests.cli.conftest import Balsam
from tests.support.databases import mostly_sqlite
from tests.support.sites import jobs, make_test_site, wait_until

JOBS = 40


@pytest.fixture(autouse=True)
def _down(site: Site, balsam_process: Balsam) -> Iterator[None]:
    yield
    assert balsam_process("down").status == 0


def nothing_is_left(site: Site) -> None:
    """Of a drill, on a site whose services run."""
    assert jobs(site) == []
    assert list(site.data.iterdir()) == []
    assert [path.name for path in site.run.iterdir() if path.name.startswith("launcher-")] == []
    answer = Connection(site).call(SessionServiceStub, "ListSessions", session_service_pb2.ListSessionsRequest())
    assert len(answer.sessions) == 1  # the scheduler's
    assert [pid for pid in marked("drill-") if str(site.path).encode() in _command(pid)] == []


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def short_lease_site(tmp_path: Path, any_database: str) -> Iterator[Site]:
    site = make_test_site(tmp_path / "short", any_database, lease_seconds=2.0)
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}
    yield site
    subprocess.run([sys.executable, "-m", "balsam_cli", "down"], env=environ, check=True, stdout=subprocess.DEVNULL)


@mostly_sqlite
def test_a_drill_kills_and_finds_nothing_lost_over_both_databases(
    short_lease_site: Site, balsam: Balsam, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = short_lease_site
    monkeypatch.setenv("BALSAM_DB_PATH", str(site.path))
    result = balsam("doctor", "--drill", "--jobs", str(JOBS), "--json")
    receipt = result.json
    assert result.status == 0, result.out
    assert receipt["passed"]
    assert receipt["site"] == str(site.path)
    assert receipt["database"] == ("sqlite" if site.settings.database == "sqlite" else "postgresql")
    assert (receipt["jobs"], receipt["finished"]) == (JOBS, JOBS)
    assert receipt["begun"] >= JOBS
    launcher, jobstore = receipt["kills"]
    assert (launcher["what"], jobstore["what"]) == ("launcher", "job store")
    assert launcher["recovery"].startswith("its lease ran out")
    assert launcher["recovery_seconds"] >= 1.0
    assert site.read_info("jobstore")["pid"] != jobstore["pid"]
    assert "started the services, which did not run" in result.err
    nothing_is_left(site)


def test_a_long_lease_is_not_waited_for_and_the_receipt_can_be_read(balsam: Balsam, site: Site) -> None:
    result = balsam("doctor", "--drill", "--jobs", "30", "--keep")
    assert result.status == 0, result.out
    assert result.out.startswith("Drill passed\n")
    assert "its session was ended when none of its processes was left" in result.out
    assert "no two runs at a time" in result.out
    assert len(jobs(site)) == 30
    (directory,) = site.data.iterdir()
    assert len(list(directory.glob("*/witness"))) == 30


def test_a_drill_asks_before_it_disturbs_others(balsam: Balsam, balsam_process: Balsam, site: Site) -> None:
    assert balsam_process("up").status == 0
    (job_id,) = balsam("job", "--name", "other", "--", "true").ids
    result = balsam("doctor", "--drill", "--jobs", "20")
    assert (result.status, result.out) == (1, "")
    assert "1 unfinished job and 0 launchers of others are on this site" in result.err
    assert [job.job_id for job in jobs(site)] == [job_id]


def test_services_in_the_foreground_are_not_ended_by_a_drill(balsam: Balsam, site: Site) -> None:
    command = [sys.executable, "-m", "balsam_cli", "up", "--foreground"]
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"up: {site.path}\n"
        result = balsam("doctor", "--drill")
        assert (result.status, "balsam up --foreground" in result.err) == (1, True)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        pytest.param(signal.SIGINT, "run", marks=pytest.mark.slow),
        (signal.SIGTERM, "run"),
        (signal.SIGINT, "kill"),
    ],
)
def test_a_drill_that_is_interrupted_leaves_nothing(
    number: signal.Signals, moment: str, balsam_process: Balsam, site: Site
) -> None:
    """At the first run, or while the job store is dead."""
    assert balsam_process("up").status == 0
    pid = site.read_info("jobstore")["pid"]
    command = [sys.executable, "-m", "balsam_cli", "doctor", "--drill", "--jobs", "200"]
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: next(site.data.glob("*/*/witness"), None), what="a first run", site=site)
        if moment == "kill":
            wait_until(lambda: not processes.is_running(pid, "balsam_jobstore"), what="the kill", site=site)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    nothing_is_left(site)


def test_a_launcher_that_reports_nothing_fails_the_drill(site: Site, balsam_process: Balsam) -> None:
    assert balsam_process("up").status == 0
    idle = (sys.executable, "-c", "import time; time.sleep(60)")
    receipt = Drill(site, Plan(jobs=20, most_seconds=1.0, launcher=idle)).run()
    assert not receipt.passed
    broken = {point.check for point in receipt.points if not point.kept}
    assert {"goes on after kills", "each finished", "each ran to its end"} <= broken
    nothing_is_left(site)


def test_launchers_that_end_at_once_fail_the_drill_before_its_time_is_up(site: Site, balsam_process: Balsam) -> None:
    assert balsam_process("up").status == 0
    receipt = Drill(site, Plan(jobs=20, launcher=(sys.executable, "-c", "raise SystemExit(3)"))).run()
    assert "all launchers have ended (with 3, 3), and 0 jobs" in receipt.points[0].found
    assert receipt.seconds < 30


def test_a_run_that_was_begun_twice_under_one_attempt_fails_the_drill(site: Site, balsam: Balsam) -> None:
    def tamper() -> None:
        witness = wait_until(lambda: next(site.data.glob("*/*/witness"), None), what="a first run")
        with witness.open("a") as file:
            file.write("begin 1 1\noverlap 1 1\n")

    forger = threading.Thread(target=tamper)
    forger.start()
    result = balsam("doctor", "--drill", "--jobs", str(JOBS), "--json")
    forger.join()
    assert result.status == 1
    broken = {point["check"] for point in result.json["points"] if not point["kept"]}
    assert broken == {"no two runs at a time", "each attempt began once"}
    nothing_is_left(site)


def test_all_that_a_launcher_starts_bears_its_mark() -> None:
    environ = os.environ | {ENV_DRILL: "drill-test.1"}
    command = ["sh", "-c", "setsid sleep 60 & echo $!; exec sleep 60"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert set(marked("drill-test.")) >= {process.pid, child}
        assert marked("drill-test.2") == []
        os.kill(child, signal.SIGKILL)
        process.kill()


def test_options_of_the_drill_go_with_it(balsam: Balsam) -> None:
    for option in ("--keep", "--jobs=20", "--wait-for-lease", "--yes"):
        result = balsam("doctor", option)
        assert (result.status, "goes with --drill" in result.err) == (2, True)
