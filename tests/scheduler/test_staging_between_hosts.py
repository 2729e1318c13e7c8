"""Stage-in and stage-out between hosts: real scp, sftp and rsync against a real SSH server, and a real web server."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from balsam.site import Site
from balsam.states import State
from balsam.v1.job_pb2 import Job
from balsam.v1.lease_pb2 import Grant, Program
from balsam_scheduler.carriers import SSH_OPTIONS
from balsam_scheduler.limits import Limit
from balsam_scheduler.programs import Runner
from balsam_scheduler.steps import Outcome, Step, Steps
from tests.scheduler.test_steps import JOB_ID, NobodyListens
from tests.support.processes import launcher, services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, wait_until
from tests.support.ssh import SshServer

CARRIERS = ["scp", "rsync"]
ODD_NAMES = ["two words.dat", "a[1].dat", "quote'\"\\.dat", "$(id).dat", "-rf.dat", "host:b.dat", "é.dat"]


class Bench:
    """One job, whose files are staged here."""

    def __init__(self, site: Site) -> None:
        self.directory = site.data / "wf" / "job_01234567"
        self.directory.mkdir(parents=True)
        self._steps = Steps(site, Runner(NobodyListens(), 1.0), lambda ids, limit: [])

    def stage_in(self, url: str) -> Outcome:
        return self._do(State.READY, stage_in_url=url)

    def stage_out(self, url: str, patterns: str = "*") -> Outcome:
        return self._do(State.POSTPROCESSED, stage_out_url=url, stage_out_files=patterns)

    def _do(self, state: State, **fields: Any) -> Outcome:
        job = Job(state=state.value, job_id=JOB_ID, name="job", working_directory=str(self.directory), **fields)
        limit = Limit(30.0)
        try:
            return self._steps.do(Step(Grant(job=job, token="t", script_attempt=1), Program(), limit))
        finally:
            limit.close()


@pytest.fixture
def bench(site: Site) -> Bench:
    return Bench(site)


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A directory of the other host, which is this one."""
    directory = tmp_path / "remote"
    directory.mkdir()
    return directory


def fill(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    return directory


def files(directory: Path) -> dict[str, str]:
    """Path -> text of every file under a directory, hidden ones too."""
    return {str(p.relative_to(directory)): p.read_text() for p in sorted(directory.rglob("*")) if p.is_file()}


def named(*names: str) -> dict[str, str]:
    return {name: name for name in sorted(names)}


# What works


@pytest.mark.parametrize("carrier", CARRIERS)
class TestCopies:
    @pytest.mark.parametrize("ending", ["", "/"])
    def test_a_directory_comes_as_what_is_in_it(
        self, ssh: SshServer, bench: Bench, remote: Path, carrier: str, ending: str
    ) -> None:
        fill(remote, "in/a.dat", "in/sub/b.dat", *(f"in/{name}" for name in ODD_NAMES))
        assert bench.stage_in(f"{carrier}:box:{remote}/in{ending}") == Outcome(State.STAGED_IN)
        assert files(bench.directory) == {
            name.removeprefix("in/"): text for name, text in files(remote).items() if name.startswith("in/")
        }

    def test_a_file_comes_with_its_mode_and_time(
        self, ssh: SshServer, bench: Bench, remote: Path, carrier: str
    ) -> None:
        file = fill(remote, "run.sh") / "run.sh"
        file.chmod(0o750)
        os.utime(file, (1_000_000_000, 1_000_000_000))
        assert bench.stage_in(f"{carrier}:box:{file}") == Outcome(State.STAGED_IN)
        status = (bench.directory / "run.sh").stat()
        assert (status.st_mode & 0o777, status.st_mtime) == (0o750, 1_000_000_000)

    @pytest.mark.parametrize("name", ["two words.dat", "it's.dat", "-rf.dat", "$(id).dat", 'a"b.dat'])
    def test_a_path_with_blanks_and_quotes_is_one_path(
        self, ssh: SshServer, bench: Bench, remote: Path, carrier: str, name: str
    ) -> None:
        fill(remote, f"my dir/{name}", "my dir/other")
        assert bench.stage_in(f"{carrier}:box:{remote}/my dir/{name}") == Outcome(State.STAGED_IN)
        assert list(files(bench.directory)) == [name]
        assert bench.stage_out(f"{carrier}:box:{remote}/{name}/$(id) \"'") == Outcome(State.JOB_FINISHED)
        assert list(files(remote / name)) == [f"$(id) \"'/{name}"]

    def test_a_pattern_matches_over_there(self, ssh: SshServer, bench: Bench, remote: Path, carrier: str) -> None:
        fill(remote, "a.dat", "b.dat", "c.txt")
        assert bench.stage_in(f"{carrier}:box:{remote}/*.dat") == Outcome(State.STAGED_IN)
        assert files(bench.directory) == named("a.dat", "b.dat")

    @pytest.mark.parametrize("there", ["", "out", "out/deep/down"])
    def test_matches_go_to_a_directory_that_is_made_where_it_is_missing(
        self, ssh: SshServer, bench: Bench, remote: Path, carrier: str, there: str
    ) -> None:
        (remote / there).mkdir(parents=True, exist_ok=True)
        fill(bench.directory, "sub/deep/c.dat", "other", *ODD_NAMES)
        outcome = bench.stage_out(f"{carrier}:box:{remote}/out/deep/down", "*.dat sub")
        assert outcome == Outcome(State.JOB_FINISHED)
        assert files(remote / "out/deep/down") == named("sub/deep/c.dat", *ODD_NAMES)
        assert not list(bench.directory.glob(".balsam*"))

    def test_a_single_directory_keeps_its_name(self, ssh: SshServer, bench: Bench, remote: Path, carrier: str) -> None:
        fill(bench.directory, "sub/c.dat")
        for _ in range(2):
            assert bench.stage_out(f"{carrier}:box:{remote}/new", "sub") == Outcome(State.JOB_FINISHED)
            assert files(remote) == {"new/sub/c.dat": "sub/c.dat"}

    def test_files_over_there_are_replaced_and_others_stay(
        self, ssh: SshServer, bench: Bench, remote: Path, carrier: str
    ) -> None:
        fill(remote, "mine", "sub/mine")
        (remote / "a.dat").write_text("a much longer text of the time before")
        fill(bench.directory, "a.dat", "sub/b.dat")
        assert bench.stage_out(f"{carrier}:box:{remote}") == Outcome(State.JOB_FINISHED)
        assert files(remote) == named("a.dat", "mine", "sub/b.dat", "sub/mine")

    def test_nothing_to_send_needs_no_host(self, ssh: SshServer, bench: Bench, carrier: str) -> None:
        assert bench.stage_out(f"{carrier}:gone:/x", "*.none") == Outcome(State.JOB_FINISHED)


def test_rsync_leaves_directories_over_there_as_they_are(ssh: SshServer, bench: Bench, remote: Path) -> None:
    (remote / "shared").mkdir()
    for directory in (remote, remote / "shared"):
        directory.chmod(0o2775)
    fill(bench.directory, "shared/a.dat")
    assert bench.stage_out(f"rsync:box:{remote}") == Outcome(State.JOB_FINISHED)
    assert files(remote) == {"shared/a.dat": "shared/a.dat"}
    assert [d.stat().st_mode & 0o7777 for d in (remote, remote / "shared")] == [0o2775, 0o2775]


def test_scp_takes_more_files_than_fit_a_command(
    ssh: SshServer, bench: Bench, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("balsam_scheduler.staging._ENTRIES_AT_ONCE", 2)
    fill(bench.directory, *"abcde")
    assert bench.stage_out(f"scp:box:{remote}") == Outcome(State.JOB_FINISHED)
    assert files(remote) == named(*"abcde")


# What fails, and says why at once


@pytest.mark.parametrize("carrier", CARRIERS)
class TestFailures:
    @pytest.mark.parametrize(
        ("host", "reason"),
        [
            ("refused", "Permission denied (publickey)."),
            ("stranger", "Host key verification failed."),
            ("gone", "Connection refused"),
        ],
    )
    def test_a_host_that_does_not_let_us_in(
        self, ssh: SshServer, bench: Bench, carrier: str, host: str, reason: str
    ) -> None:
        fill(bench.directory, "a.dat")
        began = time.monotonic()
        came, went = bench.stage_in(f"{carrier}:{host}:/x"), bench.stage_out(f"{carrier}:{host}:/x")
        for outcome, program in ((came, carrier), (went, "sftp" if carrier == "scp" else carrier)):
            assert outcome.state is State.FAILED
            assert outcome.message.startswith(f"copying with {program} failed: exit code ")
            assert reason in outcome.message
        assert time.monotonic() - began < 20
        assert files(bench.directory) == named("a.dat")

    def test_a_host_that_says_nothing(
        self, ssh: SshServer, bench: Bench, carrier: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hurried = tuple(option.replace("ConnectTimeout=20", "ConnectTimeout=1") for option in SSH_OPTIONS)
        monkeypatch.setattr("balsam_scheduler.carriers.SSH_OPTIONS", hurried)
        outcome = bench.stage_in(f"{carrier}:mute:/x")
        assert outcome.state is State.FAILED
        assert "timed out" in outcome.message.lower()

    def test_a_copy_has_a_time_limit_of_its_own(self, ssh: SshServer, tmp_path: Path, carrier: str) -> None:
        bench = Bench(make_test_site(tmp_path, staging_timeout_seconds=1.0))
        assert bench.stage_in(f"{carrier}:mute:/x") == Outcome(
            State.FAILED, "stage-in was stopped at its limit of 1 s (the setting staging_timeout_seconds)"
        )

    def test_a_file_that_is_not_there(self, ssh: SshServer, bench: Bench, remote: Path, carrier: str) -> None:
        outcome = bench.stage_in(f"{carrier}:box:{remote}/no such file")
        assert outcome.state is State.FAILED
        assert f"{remote}/no such file" in outcome.message
        assert "No such file or directory" in outcome.message
        assert not list(bench.directory.iterdir())

    def test_a_file_in_the_way_of_the_directory(self, ssh: SshServer, bench: Bench, remote: Path, carrier: str) -> None:
        fill(remote, "out")
        fill(bench.directory, "a.dat")
        outcome = bench.stage_out(f"{carrier}:box:{remote}/out")
        assert outcome.state is State.FAILED
        assert f"{remote}/out" in outcome.message
        assert "not a directory" in outcome.message.lower()
        assert files(remote) == named("out")

    def test_a_directory_that_nobody_may_write_to(self, ssh: SshServer, bench: Bench, carrier: str) -> None:
        fill(bench.directory, "a.dat")
        outcome = bench.stage_out(f"{carrier}:box:/proc/no/such")
        assert outcome.state is State.FAILED
        assert '"/proc/no' in outcome.message
        assert "No such file" in outcome.message or "denied" in outcome.message

    def test_a_program_that_is_not_installed(self, bench: Bench, carrier: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        outcome = bench.stage_in(f"{carrier}:box:/x")
        assert outcome == Outcome(State.FAILED, f"{carrier} cannot be started: there is no program {carrier!r}")


# The web


@pytest.fixture
def web(remote: Path) -> Iterator[str]:
    """The URL of a web server over `remote`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=os.fspath(remote)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_comes_from_the_web_under_its_name(bench: Bench, remote: Path, web: str) -> None:
    (remote / "two words.bin").write_bytes(os.urandom(3_000_000))
    assert bench.stage_in(f"{web}/two%20words.bin?version=2") == Outcome(State.STAGED_IN)
    assert (bench.directory / "two words.bin").read_bytes() == (remote / "two words.bin").read_bytes()


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/none.dat", "FileNotFoundError: {web}/none.dat"), ("/", "ValueError: {web}/ names no file")],
)
def test_what_the_web_does_not_have(bench: Bench, web: str, path: str, reason: str) -> None:
    outcome = bench.stage_in(f"{web}{path}")
    assert outcome.state is State.FAILED
    assert outcome.message.startswith(f"copying with fsspec failed: exit code 1\n{reason.format(web=web)}")
    assert not list(bench.directory.iterdir())


@pytest.mark.parametrize(
    ("url", "package"),
    [("s3://b/x", "s3fs"), ("gs://b/x", "gcsfs"), ("abfs://c/x", "adlfs"), ("sftp://h/x", "paramiko")],
)
def test_a_storage_whose_package_is_missing_names_it(
    bench: Bench, url: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, f"hidden/{package}.py")
    (tmp_path / f"hidden/{package}.py").write_text(f"raise ModuleNotFoundError('no', name='{package}')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/hidden")
    outcome = bench.stage_in(url)
    assert outcome.state is State.FAILED
    assert package in outcome.message
    assert url.partition(":")[0] + ": URLs" in outcome.message


# The whole path, through real services


@pytest.fixture
def jobs(any_site: Site) -> Iterator[Jobs]:
    jobs = Jobs(any_site)
    yield jobs
    jobs.close()


def test_a_job_that_comes_by_scp_and_goes_by_rsync(ssh: SshServer, any_site: Site, jobs: Jobs, remote: Path) -> None:
    fill(remote, "in/numbers.txt")
    with services(any_site):
        app = jobs.add_app("count", executable="sh -c 'wc -c < numbers.txt > result.dat'")
        job = jobs.add(
            "count",
            application=app,
            stage_in_url=f"scp:box:{remote}/in",
            stage_out_url=f"rsync:box:{remote}/results of/count",
            stage_out_files="*.dat *.out *.none",
        )
        launcher(any_site)
        done = jobs.wait(job, State.JOB_FINISHED, State.FAILED)
        assert State(done.state) is State.JOB_FINISHED, done.message
    assert files(remote / "results of/count") == {"result.dat": "14\n", "count.out": ""}


def test_a_job_whose_stage_in_fails_does_not_run_and_says_why(ssh: SshServer, site: Site, services: object) -> None:
    jobs = Jobs(site)
    job = jobs.add("lost", application=jobs.add_app("app"), stage_in_url="scp:refused:/x")
    failed = jobs.wait(job, State.FAILED)
    assert failed.message.startswith("copying with scp failed: exit code 255")
    assert "Permission denied (publickey)." in failed.message
    assert jobs.history(job) == ["CREATED", "READY", "FAILED"]
    jobs.close()


def test_a_stage_out_that_failed_can_be_repeated_alone(site: Site, services: object, tmp_path: Path) -> None:
    jobs = Jobs(site)
    job = jobs.add("late", stage_out_url=f"local:{fill(tmp_path, 'out') / 'out'}", stage_out_files="*")
    jobs.wait(job, State.PREPROCESSED)
    fill(Path(jobs.get(job).working_directory), "result.dat")
    jobs.set_state(job, State.RUN_DONE)
    jobs.wait(job, State.FAILED)
    (tmp_path / "out").unlink()
    jobs.set_state(job, State.POSTPROCESSED)
    jobs.wait(job, State.JOB_FINISHED)
    assert files(tmp_path / "out") == named("result.dat")
    jobs.close()


@pytest.mark.parametrize(
    ("url", "reason"),
    [("gsiftp://host/x", "must be an absolute path or a URL of local, file, scp"), ("scp:host", "names no place")],
)
def test_a_url_that_names_nothing_is_refused_with_the_job(site: Site, services: object, url: str, reason: str) -> None:
    jobs = Jobs(site)
    with pytest.raises(AssertionError, match=f"stage_in_url = .*{url}.*: {reason}"):
        jobs.add("no", stage_in_url=url)
    jobs.close()


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_kill_ends_a_copy_and_leaves_nothing_half_done(
    ssh: SshServer, site: Site, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, carrier: str
) -> None:
    with (remote / "large.dat").open("wb") as file:
        file.truncate(100_000_000)
    _slow_down(carrier, tmp_path / "slow", monkeypatch)
    with services(site):
        jobs = Jobs(site)
        job = jobs.add("slow", stage_in_url=f"{carrier}:box:{remote}/large.dat")
        directory = Path(jobs.get(job).working_directory)
        scratch = directory / f".balsam-{job}"
        wait_until(
            lambda: [file for file in scratch.glob("tree/*large.dat*") if file.stat().st_size > 0],
            what="the first bytes",
            site=site,
        )
        jobs.kill(job)
        wait_until(lambda: not scratch.exists(), what="the end of the copy", site=site)
        assert list(directory.iterdir()) == []
        assert _clients_of(ssh) == []
        assert State(jobs.get(job).state) is State.USER_KILLED
        jobs.close()


def _slow_down(carrier: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same program, at a megabyte a second."""
    options = {"scp": "-l 8000", "rsync": "--bwlimit=1000"}
    directory.mkdir()
    script = directory / carrier
    script.write_text(f'#!/bin/sh\nexec {shutil.which(carrier)} {options[carrier]} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def _clients_of(ssh: SshServer) -> list[list[str]]:
    """Command lines of the SSH clients that run."""
    own = os.fspath(ssh.directory / "config")
    found = []
    for process in psutil.process_iter():
        try:
            if own in process.cmdline():
                found.append(process.cmdline())
        except psutil.Error:
            continue
    return found


# Targets here that cannot be written


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", os.fspath(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    yield directory
    subprocess.run(["umount", directory], check=True)


def test_a_disk_that_is_full(bench: Bench, small_disk: Path) -> None:
    (bench.directory / "large.dat").write_bytes(bytes(2_000_000))
    outcome = bench.stage_out(f"local:{small_disk}/out")
    assert outcome == Outcome(State.FAILED, f"stage-out failed: {small_disk}/out/large.dat: No space left on device")
    assert list((small_disk / "out").iterdir()) == []


def test_a_directory_that_is_read_only(bench: Bench, small_disk: Path) -> None:
    fill(bench.directory, "a.dat")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    outcome = bench.stage_out(f"local:{small_disk}")
    assert outcome == Outcome(State.FAILED, f"stage-out failed: {small_disk}/a.dat: Read-only file system")


def test_a_directory_that_others_own(bench: Bench, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    fill(bench.directory, "a.dat")
    (tmp_path / "out").mkdir(mode=0o555)
    outcome = bench.stage_out(f"local:{tmp_path}/out")
    assert outcome == Outcome(State.FAILED, f"stage-out failed: {tmp_path}/out/a.dat: Permission denied")


def test_a_file_in_the_way_of_a_local_target(bench: Bench, tmp_path: Path) -> None:
    fill(bench.directory, "a.dat")
    fill(tmp_path, "out")
    outcome = bench.stage_out(f"local:{tmp_path}/out")
    assert outcome == Outcome(State.FAILED, f"stage-out failed: {tmp_path}/out: File exists")
    assert (
        bench.stage_out(f"local:{tmp_path}/out/deep").message
        == f"stage-out failed: {tmp_path}/out/deep: Not a directory"
    )
