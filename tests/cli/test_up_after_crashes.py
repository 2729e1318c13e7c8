"""`balsam up` after a crash: whatever was left behind, it goes on, or says in one line what to do."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from balsam import locks
from balsam.site import Site
from tests.cli.conftest import Balsam, Result
from tests.support.invariants import violations_of_site
from tests.support.sites import wait_until

HOST = os.uname().nodename


@pytest.fixture(autouse=True)
def _down(site: Site, balsam_process: Balsam) -> Iterator[None]:
    yield
    assert balsam_process("down").status == 0
    logs = "".join(path.read_text(errors="replace") for path in site.log.iterdir())
    assert "Traceback" not in logs


def pids(result: Result) -> list[int]:
    assert result.status == 0, result.err
    return [service["pid"] for service in result.json["services"]]


def processes_of(site: Site) -> list[psutil.Process]:
    """All that runs for a site."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(site.path) in (process.info["cmdline"] or ()) and process.status() != psutil.STATUS_ZOMBIE
    ]


def kill_all(site: Site) -> None:
    for process in processes_of(site):
        process.kill()
    psutil.wait_procs(processes_of(site), timeout=10)


def up_in_background(site: Site) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "balsam_cli", "up"]
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ
    )


def test_up_goes_on_with_a_service_that_a_killed_up_has_started(balsam_process: Balsam, site: Site) -> None:
    with up_in_background(site) as first:
        # One that is only just starting may be overtaken by that of the next `up`.
        wait_until(lambda: locks.holder(site.run / "jobstore.lock"), what="the job store's lock")
        first.kill()
    (orphan,) = processes_of(site)
    jobstore, _ = pids(balsam_process("up", "--json"))
    assert jobstore == orphan.pid


def test_up_goes_on_after_everything_was_killed_at_any_moment(balsam_process: Balsam, site: Site) -> None:
    moments = random.Random(7)
    for _ in range(4):
        with up_in_background(site) as process:
            try:
                process.wait(moments.uniform(0.2, 1.5))
            except subprocess.TimeoutExpired:
                process.kill()
        kill_all(site)
    pids(balsam_process("up", "--json"))
    (job_id,) = balsam_process("job", "--name", "a", "--", "true").ids
    kill_all(site)
    pids(balsam_process("up", "--json"))
    assert [row["job_id"] for row in balsam_process("ls", "--json").json] == [job_id]
    assert balsam_process("down").status == 0
    assert violations_of_site(site) == []


@pytest.mark.parametrize(
    "said",
    ['{"pid": 12', "\0\0\0", '{"pid": "many", "host": 5, "start_time": "today"}'],
)
def test_what_a_service_said_of_itself_may_be_damaged(balsam_process: Balsam, site: Site, said: str) -> None:
    before = pids(balsam_process("up", "--json"))
    (site.run / "jobstore.json").write_text(said)  # as it is before it is written again
    assert pids(balsam_process("up", "--json")) == before
    kill_all(site)
    (site.run / "jobstore.json").write_text(said)
    assert balsam_process("status").status == 1
    assert pids(balsam_process("up", "--json")) != before


def test_the_number_of_a_service_may_be_used_again_by_that_of_another_site(
    balsam_process: Balsam, site: Site, tmp_path: Path
) -> None:
    """Only the lock says who is there: the other one is neither waited for nor stopped."""
    site.make_run()
    (site.run / "jobstore.lock").write_text(f"pid {os.getpid()} on {HOST}\n")
    other = subprocess.Popen(
        [sys.executable, "-c", "input()", "balsam_jobstore", "--site", "elsewhere"], stdin=subprocess.PIPE
    )
    site.write_info("jobstore", pid=other.pid, host=HOST, start_time=0.0)
    assert balsam_process("down").out == "not running\n"
    assert other.pid not in pids(balsam_process("up", "--json"))
    assert other.poll() is None
    other.communicate(b"\n")


def test_what_lies_about_in_the_run_directory_is_no_hindrance(balsam_process: Balsam, site: Site) -> None:
    first = pids(balsam_process("up", "--json"))
    kill_all(site)
    for name in ("jobstore", "scheduler"):
        assert (site.run / f"{name}.sock").is_socket()
        (site.run / f"{name}.1234.tmp").write_text('{"pid"')
        (site.run / f"{name}.lock").write_text("\0" * 50)
    (site.run / "up.lock").write_text("held")
    assert not set(first) & set(pids(balsam_process("up", "--json")))
    assert not list(site.run.glob("*.tmp"))


def test_a_run_directory_that_was_emptied_is_filled_again(balsam_process: Balsam, site: Site) -> None:
    before = pids(balsam_process("up", "--json"))
    for path in site.run.iterdir():
        path.unlink()
    wait_until(lambda: not processes_of(site), what="the services that nobody can reach end")
    assert not set(before) & set(pids(balsam_process("up", "--json")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "settings.toml was cut off: it does not say which `database` the site has"),
        (b"# Settings of this Balsam site. Read whe", "settings.toml was cut off"),
        (b'database = "sqli', "settings.toml is not valid TOML"),
        (b"\xff\x00\xfe" * 100, "settings.toml is not valid TOML"),
        (b"lease_seconds = 60.0\n", "settings.toml was cut off"),
    ],
)
def test_settings_that_are_damaged_are_refused_in_one_line(
    balsam_process: Balsam, site: Site, text: bytes, message: str
) -> None:
    file = site.path / "settings.toml"
    good = file.read_bytes()
    file.write_bytes(text)
    refused = balsam_process("up")
    assert (refused.status, refused.out) == (1, "")
    assert message in refused.err
    assert len(refused.err.splitlines()) == 1
    assert not (site.database / "balsam.db").exists()
    file.write_bytes(good)


@pytest.mark.parametrize(("name", "text"), [("owner.token", ""), ("owner.token", "owner.x"), ("site.key", "00zz")])
def test_credentials_that_are_damaged_open_no_door(balsam_process: Balsam, site: Site, name: str, text: str) -> None:
    file = site.credentials / name
    good = file.read_text()
    file.write_text(text)
    refused = balsam_process("up")
    assert refused.status == 1
    assert f"{name} is damaged: restore it, or write" in refused.err
    assert len(refused.err.splitlines()) == 1
    file.write_text(good)


def test_a_service_that_is_stopped_with_its_words_lost_is_found_by_down(balsam_process: Balsam, site: Site) -> None:
    jobstore, scheduler = pids(balsam_process("up", "--json"))
    (site.run / "jobstore.json").write_text("{")
    stopped = json.loads(balsam_process("down", "--json").out)["stopped"]
    assert sorted(one["pid"] for one in stopped) == sorted((jobstore, scheduler))
    assert not psutil.pid_exists(jobstore) or psutil.Process(jobstore).status() == psutil.STATUS_ZOMBIE


def test_up_is_not_stopped_by_one_that_hangs_in_its_start(balsam_process: Balsam, site: Site) -> None:
    """A job store that was stopped (SIGSTOP) is waited for, and goes on where it was."""
    with up_in_background(site) as first:
        wait_until(lambda: (site.run / "jobstore.lock").exists(), what="the job store's lock")
        (jobstore,) = processes_of(site)
        jobstore.suspend()
        first.kill()
    with up_in_background(site) as second:
        assert second.poll() is None
        jobstore.send_signal(signal.SIGCONT)
        assert second.wait(60) == 0
    assert pids(balsam_process("up", "--json"))[0] == jobstore.pid


def damage_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = bytes(len(content) - 4096 * 2)
    path.write_bytes(content)


DAMAGES = [
    (lambda path: path.write_bytes(b"\xab" * 50_000), "is damaged"),
    (lambda path: path.write_bytes(path.read_bytes()[: 4096 * 3]), "is damaged"),
    (lambda path: path.write_bytes(b""), "is gone or empty, and there was one"),
    (lambda path: path.unlink(), "is gone or empty, and there was one"),
    (damage_pages, "is damaged"),
]
"""What happens to the file of a database, and what is said of it."""


def test_a_database_that_is_damaged_is_never_taken_for_a_new_one(balsam_process: Balsam, site: Site) -> None:
    pids(balsam_process("up", "--json"))
    balsam_process("job", "--name", "a", "--", "true")
    assert balsam_process("down").status == 0
    path = site.database / "balsam.db"
    good = path.read_bytes()
    site.backups.mkdir()
    copy = site.backups / "balsam-0003-20250101T000000.000000Z.db"
    copy.write_bytes(good)
    for damage, message in DAMAGES:
        path.write_bytes(good)
        damage(path)
        refused = balsam_process("up")
        assert (refused.status, refused.out) == (1, "")
        assert f"the database {path} {message}" in refused.err
        assert f"the newest backup is {copy}" in refused.err
        assert len(refused.err.splitlines()) == 1
    command = [sys.executable, "-m", "balsam_jobstore", "--site", str(site.path), "--restore", str(copy)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    pids(balsam_process("up", "--json"))
    assert [row["name"] for row in balsam_process("ls", "--json").json] == ["a"]


def test_a_write_ahead_log_that_was_cut_off_leaves_a_database_that_is_whole(balsam_process: Balsam, site: Site) -> None:
    pids(balsam_process("up", "--json"))
    for name in "abc":
        balsam_process("job", "--name", name, "--", "true")
    kill_all(site)
    log = site.database / "balsam.db-wal"
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2 + 7])
    pids(balsam_process("up", "--json"))
    assert balsam_process("ls", "--json").status == 0
    assert balsam_process("down").status == 0
    assert violations_of_site(site) == []


def test_what_was_set_aside_is_said_by_status(balsam_process: Balsam, site: Site) -> None:
    pids(balsam_process("up", "--json"))
    (job_id,) = balsam_process("job", "--name", "bad", "--", "true").ids
    balsam_process("down")
    with contextlib.closing(sqlite3.connect(site.database / "balsam.db")) as database, database:
        database.execute("UPDATE job SET state = 99")
    pids(balsam_process("up", "--json"))
    status = balsam_process("status")
    assert status.status == 0
    assert status.err == (
        f"balsam: 1 job was set aside as damaged: bad ({job_id[:8]}): state = 99 is not a state; see {site.set_aside}\n"
    )
    (row,) = balsam_process("status", "--json").json["set_aside"]
    assert json.loads(Path(row["file"]).read_text())["job"]["job_id"] == job_id
