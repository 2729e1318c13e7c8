"""Another Unix user of the same machine, a real one: nothing by files and sockets, by the port what a token lets."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client import Client
from balsam.site import Site
from tests.support import people, rpc_client
from tests.support.components import missing
from tests.support.processes import services
from tests.support.sites import wait_for_states
from tests.support.tls import environ_of, invitation, make_listening_site

NOBODY = 65_534
"""A user and a group that own nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    """A site that listens and runs, in a directory that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="balsam-") as directory:
        os.chmod(directory, 0o755)
        site = make_listening_site(Path(directory))
        site.data.chmod(0o1777)
        with services(site):
            yield site


@pytest.fixture
def home() -> Iterator[Path]:
    """The other user's own directory."""
    if os.getuid() != 0:
        missing("root", "only root can be another Unix user")
    with tempfile.TemporaryDirectory(prefix="balsam-") as directory:
        os.chown(directory, NOBODY, NOBODY)
        yield Path(directory)


ROOTS = os.pathsep.join(path for path in sys.path if path and not path.startswith(f"{sys.base_prefix}/"))
"""Where this project and what it needs are."""


@functools.cache
def python_of_everybody() -> str:
    """An interpreter that the other user can run: this one may be in somebody's home."""
    candidates = [sys.executable, "/usr/bin/python{}.{}".format(*sys.version_info[:2])]
    found = [python for python in candidates if _another_can_run(python)]
    if not found:
        missing("another Unix user", "they can run no Python that has this project")
    return found[0]


def _another_can_run(python: str) -> bool:
    command, environ = [python, "-c", "import balsam_cli.main, grpc"], {**os.environ, "PYTHONPATH": ROOTS}
    try:
        subprocess.run(command, env=environ, cwd="/", user=NOBODY, group=NOBODY, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def as_another(home: Path, site: Site, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """What a command does that the other user types."""
    more = {"HOME": str(home), "BALSAM_DB_PATH": str(site.path), "PYTHONPATH": ROOTS}
    return subprocess.run(
        [python_of_everybody(), "-m", "balsam_cli", *argv],
        env=environ_of(home, **more) | {"XDG_RUNTIME_DIR": str(home)},
        cwd="/",
        input=stdin,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        user=NOBODY,
        group=NOBODY,
        extra_groups=(),
    )


def test_somebody_else_logs_in_by_the_directory_and_runs_a_launcher(site: Site, home: Path) -> None:
    done = as_another(home, site, "ls")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"`balsam login {site.path}`" in done.stderr

    done = as_another(home, site, "login", str(site.path), stdin=invitation(site))
    assert done.returncode == 0, done.stderr
    (login,) = (home / "data" / "balsam" / "logins").iterdir()
    assert (login.stat().st_uid, login.stat().st_mode & 0o777) == (NOBODY, 0o600)

    job = ["--name", "mine", "--", "bash", "-c", f"id -u; {python_of_everybody()} -m balsam_cli ls --json"]
    done = as_another(home, site, "job", *job)
    assert done.returncode == 0, done.stderr
    done = as_another(home, site, "launcher")
    assert done.returncode == 0, done.stderr
    wait_for_states(site, {"mine": "JOB_FINISHED"})
    (found,) = Client(site).BalsamJob.objects.all()
    user, _, listed = found.read_file_in_workdir("mine.out").partition("\n")
    assert (int(user), [one["name"] for one in json.loads(listed)]) == (NOBODY, ["mine"])
    assert list((home / "state").rglob("launcher-*.log"))

    for command, said in ((["up"], "only its owner may"), (["server", "--new-certificate"], "only its owner may")):
        done = as_another(home, site, *command)
        assert done.returncode == 1
        assert said in done.stderr
    assert as_another(home, site, "log").returncode == 0


def test_scripts_and_staging_of_somebody_else_are_done_in_their_account(site: Site, home: Path) -> None:
    def balsam(*argv: str, stdin: str = "") -> str:
        done = as_another(home, site, *argv, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    balsam("login", str(site.path), stdin=member(site, "bob"))
    secret, taken = home / "secret", home / "taken"
    secret.write_text("his")
    os.chown(secret, NOBODY, NOBODY)
    secret.chmod(0o600)
    balsam("app", "--name", "app", "--executable", "sh -c 'id -u'", "--preprocess", "id -u", "--postprocess", "id -u")
    parent = balsam("job", "--name", "parent", "--", "sh", "-c", "id -u > made").strip()
    words = ["--app", "app", "--parents", parent, "--url-in", str(secret), "--url-out", str(taken)]
    child = balsam("job", "--name", "child", *words, "--stage-out-files", "*.log").strip()
    staged = balsam("job", "--name", "staged", "--url-in", str(secret), "--", "true").strip()

    why = json.loads(balsam("why", staged, "--json"))
    assert (why["condition"], why["fix"]) == ("steps-wait-for-launcher", "balsam launcher")
    assert "in the account of bob" in why["why"]
    balsam("launcher")
    assert {one["name"]: one["state"] for one in json.loads(balsam("ls", "--json"))} == dict.fromkeys(
        ("parent", "child", "staged"), "JOB_FINISHED"
    )
    (found,) = Client(site).BalsamJob.objects.filter(job_id=child)
    for name in ("preprocess.log", "postprocess.log", "child.out", "made"):
        assert found.read_file_in_workdir(name).strip() == str(NOBODY), name
    directory = Path(found.working_directory)
    files = [*directory.iterdir(), *taken.iterdir()]
    assert {path.lstat().st_uid for path in files} == {NOBODY}
    assert {path.name for path in files} >= {"secret", "made", "preprocess.log"}


def test_a_site_that_somebody_else_has_put_above_is_not_taken_for_one_s_own(home: Path) -> None:
    """Its jobs and templates would run in the account of who works below it."""
    with tempfile.TemporaryDirectory(prefix="balsam-") as directory:
        os.chmod(directory, 0o755)
        site = make_listening_site(Path(directory), listen="")
        for path in (site.path, *site.path.rglob("*")):
            path.chmod(0o755)
        for command in (["which"], ["launcher"]):
            done = as_another(home, site, *command)
            assert (done.returncode, done.stdout) == (1, "")
            assert "belongs to root" in done.stderr


def member(site: Site, name: str) -> str:
    """An invitation for a new member."""
    owner = rpc_client.Client(site)
    try:
        return invitation(site, people.add_user(owner, name))
    finally:
        owner.close()


def test_a_site_that_does_not_listen_is_its_owners_alone(home: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="balsam-") as directory:
        os.chmod(directory, 0o755)
        site = make_listening_site(Path(directory), listen="")
        for command in (["ls"], ["login", str(site.path)]):
            done = as_another(home, site, *command, stdin="user." + "x" * 43)
            assert (done.returncode, done.stdout) == (1, "")
            assert len(done.stderr.splitlines()) == 1
            assert "`balsam server --listen" in done.stderr
