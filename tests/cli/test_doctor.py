"""A doctor who sees each kind of damage, and whose fixes mend it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from balsam.site import Site
from balsam_cli.doctor import checks, host
from balsam_cli.doctor.examination import examine
from balsam_cli.doctor.finding import Finding
from balsam_cli.doctor.patient import find_patient
from scripts.check_imports import ROOT
from tests.cli.conftest import Balsam
from tests.support.processes import Services, running_launcher, services
from tests.support.sites import make_test_site, wait_until

PAGE = (ROOT / "docs" / "doctor.md").read_text()

Look = Callable[..., dict[str, Finding]]


@pytest.fixture
def look(site: Site, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Does some of the checks on the site: what they find, by name."""
    monkeypatch.setenv("BALSAM_DB_PATH", str(site.path))

    def look(*names: str) -> dict[str, Finding]:
        chosen = [check for check in checks.checks_of(find_patient()) if check.name in names]
        assert len(chosen) == len(names)
        return {finding.check: finding for finding in examine(chosen)}

    return look


def do(finding: Finding, site: Site) -> None:
    """Types the fixes, as a person would."""
    assert finding.fixes
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path), "EDITOR": "true"}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    for fix in finding.fixes:
        subprocess.run(["bash", "-c", fix], env=environ, stdin=subprocess.DEVNULL, check=True, timeout=60)


@contextlib.contextmanager
def afterwards_down(site: Site, balsam_process: Balsam) -> Iterator[None]:
    try:
        yield
    finally:
        assert balsam_process("down").status == 0


def contents(site: Site) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(site.path.rglob("*")) if path.is_file()}


@pytest.mark.mpi
def test_a_healthy_site_has_no_problem_and_nothing_of_it_is_changed(
    short_directory: Path, balsam: Balsam, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = make_test_site(short_directory)
    monkeypatch.setenv("BALSAM_DB_PATH", str(healthy.path))
    with services(healthy):
        before = contents(healthy)
        found = balsam("doctor", "--json")
        assert [(one["check"], one["found"]) for one in found.json if one["level"] != "ok"] == []
        assert found.status == 0
        assert re.findall(r"^(?:ok|problem) +(.+?)  ", PAGE, re.MULTILINE) == [one["check"] for one in found.json]
    shown = balsam("doctor")
    assert shown.status == 0
    assert "note     services      job store down, scheduler down\n         fix: balsam up\n" in shown.out
    assert shown.out.splitlines()[-1] == "no problem, 2 notes"
    assert before.keys() >= contents(healthy).keys()


def test_a_site_that_never_ran_has_notes_only(look: Look) -> None:
    found = look("settings", "permissions", "directories", "database", "services", "leftovers", "sessions", "space")
    assert {name: one.level for name, one in found.items() if one.level != "ok"} == {
        "database": "note",
        "services": "note",
        "sessions": "note",
    }
    assert found["database"].fixes == ("balsam up",)


def test_a_problem_is_shown_with_its_fix_and_status_1(balsam: Balsam, site: Site) -> None:
    site.owner_token_file.chmod(0o644)
    shown = balsam("doctor")
    assert shown.status == 1
    assert f"fix: chmod 600 {site.owner_token_file}\n" in shown.out
    assert shown.out.splitlines()[-1].startswith("1 problem, ")
    assert "\x1b" not in shown.out


def open_token(site: Site) -> None:
    site.owner_token_file.chmod(0o640)


def open_credentials(site: Site) -> None:
    site.credentials.chmod(0o755)


def open_site(site: Site) -> None:
    site.path.chmod(0o777)


def open_run(site: Site) -> None:
    site.make_run().chmod(0o750)


def lose_token(site: Site) -> None:
    site.owner_token_file.unlink()


def lose_key(site: Site) -> None:
    (site.credentials / "site.key").unlink()


def lose_database_directory(site: Site) -> None:
    site.database.rmdir()


def lose_data(site: Site) -> None:
    site.data.rmdir()


def lose_log(site: Site) -> None:
    site.log.rmdir()


def group_without_setgid(site: Site) -> None:
    site.data.chmod(0o770)


def lose_settings(site: Site) -> None:
    (site.path / "settings.toml").unlink()


@pytest.mark.parametrize(
    ("check", "damage"),
    [
        ("permissions", open_token),
        ("permissions", open_credentials),
        ("permissions", open_run),
        ("permissions", open_site),
        ("permissions", lose_database_directory),
        ("directories", lose_data),
        ("directories", lose_log),
        ("directories", group_without_setgid),
        ("settings", lose_settings),
    ],
)
def test_a_damage_is_found_and_its_fix_mends_it(
    check: str, damage: Callable[[Site], None], site: Site, look: Look
) -> None:
    assert look(check)[check].level == "ok"
    damage(site)
    finding = look(check)[check]
    assert finding.level == "problem"
    do(finding, site)
    assert look(check)[check].level == "ok"


@pytest.mark.parametrize("damage", [lose_token, lose_key])
def test_lost_credentials_are_made_anew_and_the_site_works(
    damage: Callable[[Site], None], site: Site, look: Look, balsam_process: Balsam
) -> None:
    with afterwards_down(site, balsam_process):
        damage(site)
        do(look("permissions")["permissions"], site)
        assert look("permissions")["permissions"].level == "ok"
        assert balsam_process("job", "--name", "a", "--", "true").status == 0


def test_a_directory_that_takes_no_files_is_a_problem(site: Site, look: Look) -> None:
    site.data.rmdir()
    site.data.symlink_to("/proc")
    assert "nothing can be written to" in look("directories")["directories"].found
    assert look("file locks")["file locks"].level == "problem"


def test_settings_that_are_wrong_are_quoted_and_a_url_is_not(site: Site, look: Look) -> None:
    file = site.path / "settings.toml"
    good = file.read_text()
    file.write_text(good + "lease_second = 3\n")
    finding = look("settings")["settings"]
    assert (finding.level, "did you mean 'lease_seconds'?" in finding.found) == ("problem", True)
    assert str(file) in finding.fixes[0]
    assert look("database")["database"].level == "note"
    file.write_text(good.replace('"sqlite"', '"postgresql://me:secret@host/name"'))
    assert look("settings")["settings"].found.endswith("database = a URL")


@pytest.mark.parametrize(
    "what", ["nothing in it", "garbage in the settings", "files for directories", "odd infos", "odd infos of others"]
)
def test_whatever_is_there_the_doctor_tells_all_and_never_breaks(what: str, site: Site, balsam: Balsam) -> None:
    if what == "nothing in it":
        shutil.rmtree(site.path)
        site.path.mkdir()
    elif what == "garbage in the settings":
        (site.path / "settings.toml").write_bytes(b"\xff\x00=")
        (site.database / "balsam.db").write_bytes(b"not a database" * 1000)
    elif what == "files for directories":
        for path in (site.data, site.log, site.database, site.credentials):
            shutil.rmtree(path)
            path.write_text("")
    else:
        host_name = "7" if what == "odd infos of others" else f'"{socket.gethostname()}"'
        site.make_run()
        (site.run / "jobstore.json").write_text(f'{{"pid": "x", "host": {host_name}}}')
        (site.run / "scheduler.json").write_text(f'{{"pid": -5, "start_time": "soon", "host": {host_name}}}')
        (site.run / "launcher-99999999.json").write_text("[")
    found = balsam("doctor", "--json")
    assert found.status == 1 or what.startswith("odd infos")  # the lock says who is there, whatever is written
    assert {one["check"] for one in found.json} >= {"settings", "permissions", "database", "services", "limits"}
    assert "Traceback" not in found.err
    assert [one["found"] for one in found.json if "the check itself failed" in one["found"]] == []


# The database


def made(site: Site) -> Path:
    with services(site, "jobstore"):
        pass
    return site.database / "balsam.db"


def set_revision(file: Path, revision: str) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def test_a_database_of_another_version_says_which_and_what_to_do(site: Site, look: Look) -> None:
    file = made(site)
    before = sorted(site.database.iterdir())
    assert look("database")["integrity"].level == "ok"
    set_revision(file, "0001")
    older = look("database")["database"]
    assert (older.level, older.fixes) == ("note", ("balsam down; balsam up",))
    assert "makes a backup and upgrades" in older.found
    set_revision(file, "9999")
    assert look("database")["database"].level == "problem"
    assert sorted(site.database.iterdir()) == before


def test_a_damaged_page_is_found(site: Site, look: Look) -> None:
    file = made(site)
    with file.open("r+b") as stream:
        stream.seek(8 * 4096)
        stream.write(b"\xa5" * 4096 * 8)
    finding = look("database")["integrity"]
    assert (finding.level, finding.fixes[0]) == ("problem", "balsam down")
    assert "damaged" in finding.found


def test_a_file_that_is_no_database_is_found(site: Site, look: Look) -> None:
    (site.database / "balsam.db").write_bytes(b"not a database " * 1000)
    assert look("database")["database"].level == "problem"


def test_a_database_that_was_lost_is_no_site_that_is_new(site: Site, look: Look) -> None:
    (site.data / "tour").mkdir()
    finding = look("database")["database"]
    assert (finding.level, "it was lost" in finding.found) == ("problem", True)


def test_what_a_killed_job_store_left_is_read_as_it_is(site: Site, look: Look) -> None:
    with services(site, "jobstore") as running:
        running.kill("jobstore")
        found = look("database", "leftovers")
        assert (found["database"].level, found["integrity"].level) == ("ok", "ok")
        assert (found["leftovers"].level, found["leftovers"].fixes) == ("note", ("balsam up",))
        assert "jobstore.json, jobstore.sock" in found["leftovers"].found


@pytest.mark.postgres
def test_a_server_that_is_named_by_its_url_is_asked(site: Site, look: Look, postgres_url: str) -> None:
    def use(url: str) -> Finding:
        file = site.path / "settings.toml"
        lines = [line for line in file.read_text().splitlines() if not line.startswith("database = ")]
        file.write_text("\n".join([*lines, f'database = "{url}"', ""]))
        return look("database")["database"]

    assert use(postgres_url).level == "note"
    with services(Site(site.path), "jobstore"):
        assert use(postgres_url).level == "ok"
    gone = use("postgresql://me:secret@127.0.0.1:1/none")
    assert gone.level == "problem"
    assert "secret" not in gone.found


@pytest.mark.postgres
def test_the_cluster_of_a_site_is_looked_at_whether_it_runs_or_not(
    short_directory: Path, look: Look, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    own = make_test_site(short_directory, "postgres")
    monkeypatch.setenv("BALSAM_DB_PATH", str(own.path))
    with services(own, "jobstore"):
        found = look("database")
        assert (found["database"].level, found["postgresql"].level) == ("ok", "ok")
    stopped = look("database")["database"]
    assert (stopped.level, stopped.fixes) == ("note", ("balsam up",))
    password = own.database / "postgres" / "pgpass"
    password.chmod(0o644)
    do(look("database")["postgresql"], own)
    assert look("database")["postgresql"].level == "ok"
    monkeypatch.setenv("BALSAM_PG_BIN", str(short_directory))
    assert look("database")["postgresql"].level == "problem"


# What runs


def test_a_service_that_is_stopped_does_not_answer(
    services: Services, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("balsam_cli.doctor.running._HEALTH_SECONDS", 0.5)
    assert look("services")["services"].level == "ok"
    os.kill(services.pid("scheduler"), signal.SIGSTOP)
    try:
        finding = look("services")["services"]
    finally:
        os.kill(services.pid("scheduler"), signal.SIGCONT)
    assert (finding.level, finding.fixes) == ("problem", ("balsam down; balsam up",))
    assert f"scheduler silent (pid {services.pid('scheduler')})" in finding.found


def test_a_service_of_another_version_is_told(services: Services, site: Site, look: Look) -> None:
    site.write_info("jobstore", **site.read_info("jobstore") | {"version": "0.1"})
    finding = look("services")["services"]
    assert (finding.level, finding.fixes) == ("problem", ("balsam down; balsam up",))
    assert "version 0.1" in finding.found


def test_services_of_another_host_are_told_with_the_way_there(site: Site, look: Look) -> None:
    site.make_run()
    site.write_info("jobstore", pid=1, host="elsewhere", start_time=0.0)
    finding = look("services")["services"]
    assert finding.level == "problem"
    assert finding.fixes[0] == "ssh elsewhere balsam doctor"
    assert look("leftovers")["leftovers"].level == "ok"
    do(Finding("", "", "", finding.fixes[1:]), site)
    assert look("services")["services"].level == "note"


def test_a_launcher_that_is_stopped_is_about_to_lose_its_jobs(services: Services, site: Site, look: Look) -> None:
    with running_launcher(site, "--persistent") as launcher:
        wait_until(lambda: "2 sessions" in look("sessions")["sessions"].found, site=site)
        launcher.send_signal(signal.SIGSTOP)
        wait_until(lambda: look("sessions")["sessions"].level == "note", site=site)
        do(look("sessions")["sessions"], site)
        wait_until(lambda: look("sessions")["sessions"].level == "ok", site=site)
        launcher.kill()
        launcher.wait()
        finding = look("sessions")["sessions"]
        assert f"the process {launcher.pid} of a session with 0 leases is dead" in finding.found
        leftovers = look("leftovers")["leftovers"]
        assert f"launcher-{launcher.pid}.sock" in leftovers.found
        do(leftovers, site)
        assert look("leftovers")["leftovers"].level == "ok"


def test_who_holds_the_lock_of_a_service_that_is_not_there_is_named(site: Site, look: Look) -> None:
    site.make_run()
    with (site.run / "jobstore.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        finding = look("leftovers")["leftovers"]
    assert (finding.level, finding.fixes[-1]) == ("problem", f"kill {os.getpid()}; balsam up")
    assert f"jobstore.lock by pid {os.getpid()}" in finding.found


def test_who_listens_on_the_socket_of_a_service_that_is_not_there_is_named(site: Site, look: Look) -> None:
    site.make_run()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(site.socket("scheduler")))
        listener.listen()
        assert f"scheduler.sock by pid {os.getpid()}" in look("leftovers")["leftovers"].found
    assert look("leftovers")["leftovers"].level == "note"


# The host


def stand_in(directory: Path, name: str, script: str) -> None:
    program = directory / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory at the front of PATH."""
    directory = tmp_path / "programs"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


@pytest.mark.parametrize(
    ("script", "level", "found"),
    [
        ("echo 7", "ok", "answers"),
        ("echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1", "problem", "Unable to contact"),
        ("trap '' TERM; sleep 60", "problem", "no answer within 0.5 s"),
    ],
)
def test_a_batch_system_is_asked_with_a_time_limit(
    script: str, level: str, found: str, programs: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_BATCH_SECONDS", 0.5)
    assert look("batch system")["batch system"].level == "ok"
    stand_in(programs, "sbatch", "exit 0")
    stand_in(programs, "squeue", script)
    finding = look("batch system")["batch system"]
    assert (finding.level, found in finding.found) == (level, True)


def set_mpi(site: Site, name: str) -> None:
    file = site.path / "settings.toml"
    file.write_text(file.read_text().replace('mpi_command = "auto"', f'mpi_command = "{name}"'))


@pytest.mark.parametrize(
    ("script", "level", "found"),
    [
        ("echo rank; echo rank", "ok", "two ranks ran"),
        ("echo no reservation >&2; exit 3", "note", "fail with 3: no reservation (it may work in an allocation only)"),
        ("echo rank", "note", "two ranks fail with 0"),
        ("sleep 60", "problem", "have not ended after 0.5 s"),
    ],
)
def test_two_ranks_are_tried_with_a_time_limit(
    script: str, level: str, found: str, programs: Path, site: Site, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_TRIAL_SECONDS", 0.5)
    set_mpi(site, "aprun")
    missing = look("mpi")["mpi"]
    assert (missing.level, "no aprun found" in missing.found) == ("problem", True)
    stand_in(programs, "aprun", script)
    finding = look("mpi")["mpi"]
    assert (finding.level, found in finding.found) == (level, True)


def test_a_host_that_is_short_of_files_is_told(look: Look, site: Site) -> None:
    assert look("limits")["limits"].level == "ok"
    command = f"ulimit -n 100; exec {sys.executable} -m balsam_cli doctor --json"
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environ, check=False, timeout=60)
    assert done.returncode == 1
    assert "services need 1024 files" in done.stdout
    done = subprocess.run(
        ["bash", "-c", command.replace("ulimit -n 100", "ulimit -S -n 1024; ulimit -H -n 2000")],
        capture_output=True,
        text=True,
        env=environ,
        check=False,
        timeout=60,
    )
    assert "1,024 open files (services: up to 2,000)" in done.stdout
    assert "at the job store each client takes one" in done.stdout
