"""Services on one host, and those who use them from another: real TCP between network namespaces."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from balsam.client import Client
from balsam.site import Site
from tests.support.namespaces import Hosts
from tests.support.processes import Services, log_tails, services
from tests.support.sites import wait_for_states, wait_until
from tests.support.tls import Wire, environ_of, invitation, make_listening_site, on_host

pytestmark = pytest.mark.timeout(180)

HERE = socket.gethostname()


@pytest.fixture
def place() -> Iterator[Path]:
    """Where a site has a short path: its sockets lie in it, and not in /tmp, which the hosts of these tests share."""
    with tempfile.TemporaryDirectory(prefix="balsam-") as directory:
        yield Path(directory)


@pytest.fixture
def site(place: Path, hosts: Hosts) -> Site:
    """A site whose services are to run on h1, at its address."""
    return make_listening_site(place, host=hosts.address("h1"))


@pytest.fixture(name="services")
def services_on_h1(site: Site, hosts: Hosts) -> Iterator[Services]:
    """The services of `site` on h1, which has this machine's name: used by socket here, by port elsewhere."""
    with services(site, words=hosts.words("h1")) as running:
        yield running


@dataclass
class Person:
    """Somebody who types on a host, with directories of their own."""

    words: list[str]
    environ: dict[str, str]

    def balsam(self, *argv: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """What a command does."""
        return subprocess.run(
            [*self.words, sys.executable, "-m", "balsam_cli", *argv],
            env=self.environ | environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def says(self, *argv: str, stdin: str = "") -> str:
        """What a command prints; it must not fail."""
        done = self.balsam(*argv, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def member(site: Site, hosts: Hosts, tmp_path: Path) -> Person:
    """Somebody on h2 who knows the site by its address only."""
    environ = environ_of(tmp_path / "member", BALSAM_DB_PATH=site.settings.listen)
    return Person(on_host(hosts.words("h2"), "h2"), environ)


@pytest.fixture
def owner(site: Site, hosts: Hosts, tmp_path: Path) -> Person:
    """The owner of the site on h2, where its files can be seen."""
    environ = environ_of(tmp_path / "owner", BALSAM_DB_PATH=str(site.path))
    return Person(on_host(hosts.words("h2"), "h2"), environ)


def test_a_launcher_on_another_host_works_and_nothing_is_readable_on_the_wire(
    site: Site, services: Services, member: Person, hosts: Hosts
) -> None:
    given = invitation(site)
    token = given.partition(":")[0]
    with Wire(hosts.names["h2"], "eth0") as wire:
        member.says("login", site.settings.listen, stdin=given + "\n")
        job = ["--name", "a-very-secret-name", "--workflow", "a-very-secret-flow", "--env", "KEY=a-very-secret-value"]
        member.says("job", *job, "--", "bash", "-c", "echo a-very-secret-word; balsam ls >&2")
        member.says("launcher")
        assert json.loads(member.says("ls", "--json"))[0]["state"] == "JOB_FINISHED"
        assert member.says("run", "--", "echo", "a-very-secret-answer") == "a-very-secret-answer\n"
        _say_in_plain_text(hosts, site, "a-word-in-plain-text")
        wait_until(lambda: wire.holds("a-word-in-plain-text"), what="the wire is seen")
    assert sum(map(len, wire.packets)) > 10_000
    for secret in ("a-very-secret", token, "owner.", "Bearer", "balsam.v1", "JobService"):
        assert not wire.holds(secret), secret


def _say_in_plain_text(hosts: Hosts, site: Site, text: str) -> None:
    host, _, port = site.settings.listen.rpartition(":")
    code = f"import socket; socket.create_connection(({host!r}, {port})).sendall({text.encode()!r})"
    subprocess.run([*hosts.words("h2"), sys.executable, "-c", code], check=True, timeout=30)


def test_without_a_login_nobody_gets_in(site: Site, services: Services, member: Person, tmp_path: Path) -> None:
    for command in (["launcher"], ["ls"], ["job", "--name", "a", "--", "true"]):
        done = member.balsam(*command)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"balsam login {site.settings.listen}" in done.stderr
    (tmp_path / "token").write_text(invitation(site).partition(":")[0])
    done = member.balsam("launcher", BALSAM_TOKEN_FILE=str(tmp_path / "token"))  # a token, and no certificate
    assert done.returncode == 1
    assert "nobody has logged in" in done.stderr


def test_without_a_token_that_counts_a_launcher_is_refused(
    site: Site, services: Services, member: Person, tmp_path: Path
) -> None:
    member.says("login", site.settings.listen, stdin=invitation(site))
    (tmp_path / "token").write_text("user." + "x" * 43)
    done = member.balsam("launcher", BALSAM_TOKEN_FILE=str(tmp_path / "token"))  # a certificate, and no token
    assert done.returncode == 1
    assert "does not accept the credential" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_owner_on_another_host_uses_the_site_by_its_directory(
    site: Site, services: Services, owner: Person
) -> None:
    owner.says("job", "--name", "a", "--", "bash", "-c", "hostname; balsam ls --json")
    owner.says("launcher")
    wait_for_states(site, {"a": "JOB_FINISHED"})
    (job,) = Client(site).BalsamJob.objects.all()
    host, _, listed = job.read_file_in_workdir("a.out").partition("\n")
    assert (host, [one["name"] for one in json.loads(listed)]) == ("h2", ["a"])
    assert [log.name for log in site.log.glob("launcher-*@h2.log")]
    status = json.loads(owner.says("status", "--json"))
    assert [(one["name"], one["state"], one["host"]) for one in status["services"]] == [
        ("jobstore", "up", HERE),
        ("scheduler", "up", HERE),
    ]
    which = json.loads(owner.says("which", "--json"))
    assert (which["state"], which["jobs"], which["path"]) == ("up", 1, str(site.path))
    for command in ("up", "down"):
        done = owner.balsam(command)
        assert done.returncode == 1
        assert f"the services of {site.path} run on {HERE}: use balsam there" in done.stderr


def test_where_it_does_not_listen_the_host_is_named(hosts: Hosts, place: Path, tmp_path: Path) -> None:
    site = make_listening_site(place, listen="")
    environ = environ_of(tmp_path / "owner", BALSAM_DB_PATH=str(site.path))
    owner = Person(on_host(hosts.words("h2"), "h2"), environ)
    with services(site, words=hosts.words("h1")):
        for command in (["ls"], ["launcher"], ["up"]):
            done = owner.balsam(*command)
            assert done.returncode == 1
            assert f"the services of {site.path} run on {HERE}" in done.stderr
            assert f"`balsam server --listen {HERE}:7443`" in done.stderr


def test_a_cable_that_is_pulled_for_a_while_costs_nothing(
    site: Site, services: Services, member: Person, hosts: Hosts, tmp_path: Path
) -> None:
    member.says("login", site.settings.listen, stdin=invitation(site))
    gate = tmp_path / "gate"
    member.says("job", "--name", "waits", "--", "bash", "-c", f"while [ ! -e {gate} ]; do sleep 0.05; done")
    command = [*member.words, sys.executable, "-m", "balsam_cli", "launcher"]
    with (tmp_path / "launcher.out").open("wb") as console:
        launcher = subprocess.Popen(command, env=member.environ, stdout=console, stderr=console)
    try:
        wait_for_states(site, {"waits": "RUNNING"})
        hosts.cut("h2")
        gate.touch()  # it ends while nobody can be told
        wait_until(lambda: not _runs(f"bash -c while [ ! -e {gate}"), what="the run has ended")
        hosts.mend("h2")
        assert launcher.wait(90) == 0, (tmp_path / "launcher.out").read_text() + log_tails(site)
        wait_for_states(site, {"waits": "JOB_FINISHED"})
    finally:
        launcher.kill()
        launcher.wait()
    (job,) = Client(site).BalsamJob.objects.all()
    assert job.attempt == 1


def _runs(words: str) -> bool:
    """Whether a process with such a command line lives."""
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                line = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            if line.startswith(words.encode()):
                return True
    return False


def test_out_of_reach_is_told(site: Site, services: Services, owner: Person, hosts: Hosts) -> None:
    hosts.cut("h1")
    done = owner.balsam("ls")
    assert done.returncode == 1
    assert f"{site.settings.listen} cannot be reached" in done.stderr
