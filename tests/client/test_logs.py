"""Logs rotate without losing lines, and a full disk under them stops nobody."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from balsam.logs import keep_small
from balsam.site import Site
from balsam.v1 import job_pb2, job_service_pb2
from tests.support.processes import Services, launcher
from tests.support.rpc_client import Client
from tests.support.sites import make_test_site, wait_for_states, wait_until

_WRITER = """
import logging, sys, threading
from balsam.logs import open_log
from balsam.site import open_site
open_log(open_site(sys.argv[1]), "many")
def write(name):
    for number in range(400):
        logging.info("line %s-%d of many", name, number)
threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def write_many(site: Site) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _WRITER, str(site.path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_rotation_under_writing_loses_no_line(tmp_path: Path) -> None:
    site = make_test_site(tmp_path, log_max_bytes=10_000, log_backups=20)
    assert write_many(site).returncode == 0
    files = sorted(site.log.glob("many.log*"))
    assert len(files) > 3
    lines = [line.split()[4] for file in files for line in file.read_text().splitlines()]
    assert sorted(lines) == sorted(f"{name}-{number}" for name in "abc" for number in range(400))


@pytest.mark.parametrize("kept", [0, 2])
def test_no_more_is_kept_than_is_wanted(tmp_path: Path, kept: int) -> None:
    site = make_test_site(tmp_path, log_max_bytes=10_000, log_backups=kept)
    assert write_many(site).returncode == 0
    files = list(site.log.glob("many.log*"))
    assert len(files) == 1 + kept
    assert all(file.stat().st_size <= 10_200 for file in files)


def test_a_file_that_others_append_to_is_copied_and_emptied(tmp_path: Path) -> None:
    site = make_test_site(tmp_path, log_max_bytes=10_000, log_backups=2)
    path = site.log / "postgres.log"
    with path.open("ab", buffering=0) as log:
        for letter in b"abcd":
            keep_small(site, "postgres.log")
            log.write(bytes([letter]) * 12_000)
    assert {file.name: file.read_bytes()[:1] for file in site.log.iterdir()} == {
        "postgres.log": b"d",
        "postgres.log.1": b"c",
        "postgres.log.2": b"b",
    }
    assert path.stat().st_size == 12_000
    keep_small(site, "nothing.log")


@pytest.mark.parametrize("how", ["symlink_to", "hardlink_to"])
def test_what_a_link_in_the_place_of_a_log_leads_to_is_neither_written_nor_copied_nor_emptied(
    tmp_path: Path, how: str
) -> None:
    """Of a site of a group, its members may write in log/, and the owner's services have the owner's rights."""
    site = make_test_site(tmp_path, log_max_bytes=10_000)
    precious = tmp_path / "precious"
    precious.write_bytes(b"x" * 20_000)
    for name in ("many.log", "jobstore.out"):
        getattr(site.log / name, how)(precious)
    assert "it goes to stderr" in write_many(site).stderr
    keep_small(site, "jobstore.out")
    assert precious.read_bytes() == b"x" * 20_000
    assert {path.name for path in site.log.iterdir()} == {"many.log", "jobstore.out"}


def test_a_log_that_cannot_be_opened_goes_to_stderr(tmp_path: Path) -> None:
    site = make_test_site(tmp_path)
    site.log.rmdir()
    site.log.write_text("in the way")
    done = write_many(site)
    assert done.returncode == 0
    assert "no log in " in done.stderr
    assert "it goes to stderr" in done.stderr
    assert "line a-399 of many" in done.stderr


def test_a_full_disk_under_the_logs_stops_no_service(tmp_path: Path, small_filesystem: Callable[[int], Path]) -> None:
    site = make_test_site(tmp_path, log_max_bytes=10_000)
    site.log.rmdir()
    site.log.symlink_to(small_filesystem(65_536))
    filler = site.log / "filler"

    def fill() -> None:
        with filler.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    running = Services(site)
    try:
        running.start("jobstore", "scheduler")
        fill()
        client = Client(site)
        job = job_pb2.Job(job_id=str(uuid.uuid4()), name="while it is full", args="true")
        client.call("JobService/CreateJobs", job_service_pb2.CreateJobsRequest(jobs=[job]))
        launcher(site)
        wait_for_states(site, {"while it is full": "JOB_FINISHED"})
        running.kill("jobstore")
        running.start("jobstore")  # it starts without room for its log
        filler.unlink()
        sessions = (site.log / "jobstore.log").read_text().count("opened: launcher")
        launcher(site)
        wait_until(
            lambda: (site.log / "jobstore.log").read_text().count("opened: launcher") > sessions, what="the log goes on"
        )
        client.close()
    finally:
        running.close()
