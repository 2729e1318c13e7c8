"""Members and viewers who have logged in at the port of a site: what `balsam server --add-user` gives them works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.site import Site
from tests.support.processes import services
from tests.support.sites import wait_for_states, wait_until
from tests.support.tls import environ_of, make_listening_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site that listens and runs."""
    site = make_listening_site(tmp_path)
    with services(site):
        yield site


def balsam(environ: dict[str, str], *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """What a command does."""
    command = [sys.executable, "-m", "balsam_cli", *argv]
    return subprocess.run(command, env=environ, input=stdin, capture_output=True, text=True, timeout=90, check=False)


def invite(site: Site, name: str, *more: str) -> str:
    """What the owner gives to a new user."""
    done = balsam({**os.environ, "BALSAM_DB_PATH": str(site.path)}, "server", "--add-user", name, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def person(site: Site, directory: Path, invitation: str) -> dict[str, str]:
    """The environment of somebody who has logged in."""
    environ = environ_of(directory, BALSAM_DB_PATH=site.settings.listen)
    done = balsam(environ, "login", site.settings.listen, stdin=invitation)
    assert done.returncode == 0, done.stderr
    return environ


def test_a_member_runs_jobs_of_their_own(site: Site, tmp_path: Path) -> None:
    ann = person(site, tmp_path / "ann", invite(site, "ann"))
    done = balsam(ann, "job", "--name", "hers", "--", "bash", "-c", "balsam ls --json")
    assert done.returncode == 0, done.stderr
    done = balsam(ann, "launcher")
    assert done.returncode == 0, done.stderr
    wait_for_states(site, {"hers": "JOB_FINISHED"})
    (job,) = json.loads(balsam(ann, "ls", "--json").stdout)
    assert job["owner"] == "ann"


def test_a_viewer_reads_and_changes_nothing(site: Site, tmp_path: Path) -> None:
    vic = person(site, tmp_path / "vic", invite(site, "vic", "--role", "viewer"))
    assert balsam(vic, "ls").returncode == 0
    assert balsam(vic, "status").returncode == 0
    for command in (["job", "--name", "a", "--", "true"], ["server", "--add-user", "eve"], ["launcher"]):
        done = balsam(vic, *command)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "viewer" in done.stderr


def test_a_token_that_is_revoked_fails_within_a_second_and_says_what_to_do(site: Site, tmp_path: Path) -> None:
    ann = person(site, tmp_path / "ann", invite(site, "ann"))
    owner = {**os.environ, "BALSAM_DB_PATH": str(site.path)}
    assert balsam(owner, "server", "--drop-user", "ann").returncode == 0
    began = time.monotonic()
    wait_until(lambda: balsam(ann, "ls").returncode == 1, what="she is not let in")
    assert time.monotonic() - began < 5  # a second, and the start of the command
    done = balsam(ann, "ls")
    assert f"log in again with `balsam login {site.settings.listen}`" in done.stderr
    again = person(site, tmp_path / "ann", invite(site, "ann"))
    assert balsam(again, "ls").returncode == 0


@pytest.mark.parametrize("how", ["revoked", "replaced"])
def test_a_launcher_whose_token_is_not_good_any_more_stops_its_runs_and_says_why(
    site: Site, tmp_path: Path, how: str
) -> None:
    ann = person(site, tmp_path / "ann", invite(site, "ann"))
    pid_file = tmp_path / "pid"
    balsam(ann, "job", "--name", "waits", "--", "bash", "-c", f"echo $$ > {pid_file}; exec sleep 600")
    command = [sys.executable, "-m", "balsam_cli", "launcher"]
    with subprocess.Popen(command, env=ann, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as launcher:
        try:
            wait_for_states(site, {"waits": "RUNNING"})
            if how == "revoked":
                owner = {**os.environ, "BALSAM_DB_PATH": str(site.path)}
                assert balsam(owner, "server", "--drop-user", "ann").returncode == 0
            else:
                invite(site, "ann")
            _, said = launcher.communicate(timeout=60)
        finally:
            launcher.kill()
    assert launcher.returncode == 1
    (line,) = said.splitlines()
    assert line.startswith("balsam launcher: its runs were stopped: the job store does not accept the credential")
    assert not os.path.exists(f"/proc/{pid_file.read_text().strip()}")
