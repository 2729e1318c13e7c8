"""What the doctor makes of values that a test cannot have on demand: file servers, full disks, clocks."""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.settings import Settings
from balsam.site import Site
from balsam_cli.doctor import certificates, database, files, running, storage
from balsam_cli.doctor.examination import Check, examine
from balsam_cli.doctor.finding import Finding, ok
from balsam_cli.doctor.patient import Patient
from balsam_cli.doctor.programs import ask

MOUNTS = """\
23 28 0:22 / / rw,relatime - ext4 /dev/sda1 rw
31 23 0:40 / /home rw,relatime shared:1 - nfs4 server:/home rw,vers=4.2
32 31 0:41 / /home/a\\040b rw - tmpfs tmpfs rw
33 31 0:42 / /home/over rw - ext4 /dev/sdb rw
34 33 0:43 / /home/over rw - lustre mds:/work rw
"""


def patient(path: str, database: str = "sqlite") -> Patient:
    return Patient(Site(Path(path)), Settings(database=database))


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/var/x", "ext4"), ("/home/x", "nfs4"), ("/homes", "ext4"), ("/home/a b/c", "tmpfs"), ("/home/over/c", "lustre")],
)
def test_the_file_system_of_a_path_is_that_of_the_longest_mount_point_above_it(path: str, kind: str) -> None:
    assert storage.mount_of(Path(path), storage.mounts(MOUNTS)).kind == kind


@pytest.mark.parametrize(
    ("path", "database", "level", "fix"),
    [
        ("/srv/site", "sqlite", "ok", ""),
        ("/home/site", "sqlite", "note", "--db URL"),
        ("/home/site", "postgres", "note", "balsam init /a/local/disk"),
        ("/home/site", "postgresql://host/name", "ok", ""),
        ("/home/a b/site", "sqlite", "note", "balsam init"),
    ],
)
def test_a_database_on_a_file_server_or_in_memory_is_noted(path: str, database: str, level: str, fix: str) -> None:
    finding = storage.judge_file_systems(patient(path, database), storage.mounts(MOUNTS))
    assert finding.level == level
    assert fix in " ".join(finding.fixes)


def disk(free_bytes: int, inodes: int, all_inodes: int = 10_000_000) -> os.statvfs_result:
    return os.statvfs_result((4096, 1, free_bytes, free_bytes, free_bytes, all_inodes, inodes, inodes, 0, 255))


@pytest.mark.parametrize(
    ("free", "inodes", "all_inodes", "level"),
    [
        (10 << 30, 1_000_000, 10_000_000, "ok"),
        (10 << 30, 0, 0, "ok"),  # btrfs counts none
        (500 << 20, 1_000_000, 10_000_000, "note"),
        (10 << 30, 20_000, 10_000_000, "note"),
        (50 << 20, 1_000_000, 10_000_000, "problem"),
        (10 << 30, 500, 10_000_000, "problem"),
    ],
)
def test_little_room_is_told_and_where_it_went(free: int, inodes: int, all_inodes: int, level: str) -> None:
    finding = storage.judge_space("data/", disk(free, inodes, all_inodes), Path("/site/data"))
    assert finding.level == level
    assert bool(finding.fixes) == (level != "ok")
    if free > 1 << 30 and level != "ok":
        assert "--inodes" in finding.fixes[0]


@pytest.mark.parametrize(
    ("stamp", "skew"),
    [(100.0, 0.0), (100.4, 0.0), (100.5, 0.0), (130.5, 30.0), (70.0, -30.0), (99.9, pytest.approx(-0.1))],
)
def test_the_stamp_of_a_file_is_held_against_when_it_was_written(stamp: float, skew: float) -> None:
    assert files.judged_skew(100.0, stamp, 100.5) == skew


def test_a_clock_that_is_set_meanwhile_drifts() -> None:
    steady = iter([10.0, 10.2])
    clock = iter([1000.0, 1030.2])
    drift = running.measured_drift(lambda: next(clock), lambda: next(steady), lambda _seconds: None)
    assert drift == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("report", "level", "fix"),
    [
        ({"revision": "0003"}, "ok", ""),
        ({"revision": "0002"}, "note", "balsam down; balsam up"),
        ({"revision": "0004"}, "problem", "NEWER"),
        ({"revision": ""}, "note", "balsam up"),
        ({"state": "trouble", "trouble": "connection refused"}, "problem", "pg_isready -h localhost -p 5432"),
        (
            {"state": "trouble", "trouble": "it needs the Python package psycopg2"},
            "problem",
            "pip install '.[postgres]'",
        ),
    ],
)
def test_the_revision_of_a_database_says_what_to_do(report: dict[str, str], level: str, fix: str) -> None:
    whole = {"database": "url", "state": "reached", "newest_revision": "0003", "integrity": "unknown"} | report
    (finding,) = database.judge(whole, patient("/srv/site"))
    assert finding.level == level
    assert fix in " ".join(finding.fixes)


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("postgresql://me:secret@db.site:5433/name", "pg_isready -h db.site -p 5433"),
        ("postgresql://me@/name?host=/run/pg&port=5434", "pg_isready -h /run/pg -p 5434"),
        ("postgresql://me:secret@db:x/name", "pg_isready -h db -p 5432"),
    ],
)
def test_a_server_is_asked_for_without_the_password(url: str, command: str) -> None:
    assert database._question(url) == command


def test_a_check_that_hangs_is_left_behind() -> None:
    def hang() -> Iterator[Finding]:
        time.sleep(30)
        yield ok("late", "never")

    began = time.monotonic()
    found = list(examine([Check("late", hang, 0.1), Check("quick", lambda: [ok("quick", "yes")], 10.0)]))
    assert [(one.check, one.level) for one in found] == [("late", "problem"), ("quick", "ok")]
    assert time.monotonic() - began < 5


def test_a_check_that_breaks_does_not_stop_the_others() -> None:
    def break_down() -> Iterator[Finding]:
        raise ValueError("odd\nvalue")

    found = list(examine([Check("odd", break_down), Check("even", lambda: [ok("even", "yes")])]))
    assert [(one.check, one.level) for one in found] == [("odd", "problem"), ("even", "ok")]
    assert "ValueError: odd value" in found[0].found


@pytest.mark.parametrize("script", ["trap '' TERM INT; sleep 60", "sleep 60 & sleep 60"])
def test_a_program_that_hangs_is_cut_off_with_its_children(script: str) -> None:
    began = time.monotonic()
    assert ask(["sh", "-c", script], 0.2).late
    assert time.monotonic() - began < 5


def test_a_program_that_detached_a_child_with_its_output_does_not_keep_us() -> None:
    began = time.monotonic()
    assert ask(["setsid", "--fork", "sleep", "20"], 0.2).late
    assert time.monotonic() - began < 5


def test_a_program_that_is_not_there_is_an_answer() -> None:
    answer = ask(["/no/such/program"], 1.0)
    assert (answer.status, answer.last_line) == (None, "No such file or directory: /no/such/program")
    assert ask([sys.executable, "-c", "print('one\\ntwo')"], 20.0).last_line == "two"


@pytest.mark.parametrize(
    ("days", "authority_days", "level", "found"),
    [
        (100, 1000, "ok", "good until"),
        (31, 1000, "ok", "good until"),
        (29, 1000, "note", "the site's certificate expires"),
        (-1, 1000, "problem", "the site's certificate expired"),
        (100, 29, "note", "the site's authority expires"),
        (-1, -1, "problem", "the site's authority expired"),
    ],
)
def test_a_certificate_that_expires_soon_is_told(days: int, authority_days: int, level: str, found: str) -> None:
    now = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    until, authority_until = (now + datetime.timedelta(days=number) for number in (days, authority_days))
    finding = certificates.judged(until, authority_until, now)
    assert finding.level == level
    assert found in finding.found
