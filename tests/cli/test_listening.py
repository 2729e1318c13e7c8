"""`init --listen`, `server`, `login`: a site that others can use."""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path

import pytest

from balsam import logins
from balsam.certificates import fingerprint
from balsam.site import Site, open_site
from balsam_cli.main import main
from tests.cli.conftest import Balsam, start
from tests.support.own_files import with_own_files
from tests.support.processes import Services, running_launcher, services
from tests.support.tls import free_port, invitation, make_listening_site

TOKEN = "user." + "x" * 43


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site that listens; its services do not run."""
    return make_listening_site(tmp_path)


@pytest.fixture(name="services")
def running(site: Site) -> object:
    """The services of the fixture `site`, running."""
    with services(site) as found:
        yield found


def say(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """What the next command reads."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_init_makes_a_site_that_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, port = tmp_path / "s", free_port()
    assert main(["init", str(path), "--listen", f"127.0.0.1:{port}"]) == 0
    captured = capsys.readouterr()
    assert f"It listens at 127.0.0.1:{port}, with TLS" in captured.out
    assert "127.0.0.1 is this host only" in captured.out
    assert open_site(path).settings.listen == f"127.0.0.1:{port}"
    assert len(fingerprint(open_site(path))) == 32


def test_init_warns_of_listening_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "s"), "--listen", f"0.0.0.0:{free_port()}"]) == 0
    assert "at every address of the host" in capsys.readouterr().out


@pytest.mark.parametrize("listen", ["7443", "host", "host:0", "host:70000", ":7443", "*:7443", "tcp://host:7443"])
def test_init_refuses_what_is_no_address(listen: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "s"), "--listen", listen]) == 1
    captured = capsys.readouterr()
    assert f"--listen {listen!r}" in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not (tmp_path / "s").exists()


def test_without_the_package_for_certificates_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    assert main(["init", str(tmp_path / "s"), "--listen", "host:7443"]) == 1
    assert "pip install cryptography" in capsys.readouterr().err
    assert not (tmp_path / "s" / "settings.toml").exists()


def test_a_site_listens_from_its_next_start_on_and_no_more(
    balsam: Balsam, site: Site, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    shown = balsam("server", "--listen", f"127.0.0.1:{port}")
    assert shown.status == 0
    assert "Next: balsam down; balsam up" in shown.out
    services.stop("scheduler", "jobstore")
    services.start("jobstore", "scheduler")
    again = open_site(site.path)
    say(monkeypatch, invitation(again))
    assert balsam("login", f"127.0.0.1:{port}").status == 0
    assert balsam("server", "--listen", "none").status == 0
    assert open_site(site.path).settings.listen == ""
    assert not (site.path / "connect.json").exists()


def test_new_certificates_are_made_and_shown(balsam: Balsam, site: Site) -> None:
    before = fingerprint(site)
    record = balsam("server", "--new-certificate", "--json").json
    assert (record["fingerprint"], record["address"]) == (before, site.settings.listen)
    shown = balsam("server", "--new-authority")
    assert "has to log in again" in shown.out
    assert fingerprint(site) != before


@pytest.mark.parametrize("argv", [[], ["--new-certificate", "--new-authority"]])
def test_server_does_one_thing(argv: list[str], balsam: Balsam) -> None:
    assert balsam("server", *argv).status == 2


def test_server_refuses_what_is_no_address_and_changes_nothing(balsam: Balsam, site: Site) -> None:
    before = (site.path / "settings.toml").read_text()
    assert balsam("server", "--listen", "nonsense").status == 1
    assert (site.path / "settings.toml").read_text() == before


def test_a_port_in_use_is_told_by_up(balsam_process: Balsam, site: Site) -> None:
    host, _, port = site.settings.listen.partition(":")
    with socket.create_server((host, int(port))):
        result = balsam_process("up")
    assert result.status == 1
    assert f"cannot listen on {site.settings.listen}: another program uses this port" in result.err
    assert len(result.err.splitlines()) == 1


def test_login_and_after(balsam: Balsam, site: Site, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, invitation(site) + "\n")
    record = balsam("login", site.settings.listen, "--json").json
    assert (record["site"], record["path"], record["role"]) == (site.settings.listen, str(site.path), "owner")
    assert "token" not in json.dumps(record)
    monkeypatch.setenv("BALSAM_DB_PATH", site.settings.listen)

    def at(*argv: str) -> int:
        return main(list(argv))

    assert at("job", "--name", "a", "--", "true") == 0
    assert at("ls") == 0
    assert at("status") == 0
    assert at("which") == 0
    assert at("which", "--list") == 0
    assert at("activate", site.settings.listen) == 0
    for command in (["up"], ["down"], ["server", "--new-certificate"], ["doctor"]):
        assert at(*command) == 1


def test_login_refuses_in_one_line_and_repeats_no_token(
    balsam: Balsam, site: Site, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, said in (
        ("", "no invitation"),
        (f"{TOKEN}\n", "no fingerprint"),
        (f"{TOKEN}:{'0' * 32}", "not the site of this invitation"),
        (f"{TOKEN}:{fingerprint(site)}", "does not accept the credential"),
    ):
        say(monkeypatch, text)
        result = balsam("login", site.settings.listen)
        assert (result.status, result.out) == (1, "")
        assert said in result.err
        assert len(result.err.splitlines()) == 1
        assert TOKEN not in result.err
    assert list(logins.stored()) == []


def test_the_owner_needs_no_login(balsam: Balsam, site: Site) -> None:
    result = balsam("login", str(site.path))
    assert result.status == 1
    assert "is yours: no login is needed" in result.err


@pytest.mark.parametrize(
    ("place", "said"), [("nowhere", "neither the directory of a site nor HOST:PORT"), (".", "is not a Balsam site")]
)
def test_login_needs_a_site(
    place: str, said: str, balsam: Balsam, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    say(monkeypatch, TOKEN)
    result = balsam("login", place)
    assert result.status == 1
    assert said in result.err


def test_doctor_sees_certificates(balsam: Balsam, site: Site) -> None:
    def found() -> dict[str, str]:
        (finding,) = [one for one in balsam("doctor", "--json").json if one["check"] == "certificates"]
        return dict(finding)

    assert found()["level"] == "ok"
    (site.credentials / "server.pem").chmod(0o644)
    assert found()["level"] == "problem"
    (site.credentials / "server.pem").unlink()
    assert "--new-certificate" in found()["found"]


def test_output_comes_through_the_port_from_a_launcher_that_nobody_else_reaches(
    balsam: Balsam, site: Site, services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    say(monkeypatch, invitation(site))
    assert balsam("login", site.settings.listen).status == 0
    script = f"echo first; until [ -e {tmp_path}/go ]; do sleep 0.05; done; printf last"
    (job_id,) = balsam("job", "--name", "far", "--", "sh", "-c", script).ids
    with (
        running_launcher(site, words=with_own_files(site.data)),
        start(site, "logs", "-f", job_id, at=site.settings.listen) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        (tmp_path / "go").touch()
        assert process.stdout.read() == "last"
        assert process.wait(30) == 0
