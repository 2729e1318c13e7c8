"""How a site is reached: decided by its files, and by logins; nothing is contacted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from balsam import logins, stores
from balsam.certificates import authority_of, publish
from balsam.endpoints import AwaySite, as_seen_here
from balsam.errors import NotAllowed, SiteError, Unavailable, ValidationError
from balsam.logging_in import log_in, split
from balsam.logins import Login, MemberSite
from balsam.rpc import Connection, metadata
from balsam.site import Site, find_site, open_site, run_of_this_host
from balsam.v1.job_service_pb2_grpc import JobServiceStub
from tests.support.tls import make_listening_site

TOKEN = "user." + "x" * 43


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site that listens."""
    return make_listening_site(tmp_path)


def login_to(site: Site, name: str) -> Login:
    """A login, as `balsam login` makes one."""
    return Login(name, site.settings.listen, authority_of(site), TOKEN, str(site.path), "elsewhere", "ann")


def test_on_the_host_of_the_services_it_is_the_socket(site: Site) -> None:
    assert site.endpoint() is None  # they have never run
    publish(site, site.settings, os.uname().nodename)
    assert site.endpoint() is None
    assert as_seen_here(site) is site


def test_on_another_host_it_is_the_port(site: Site) -> None:
    publish(site, site.settings, "elsewhere")
    endpoint = site.endpoint()
    assert endpoint is not None
    assert (str(endpoint.address), endpoint.host) == (site.settings.listen, "elsewhere")
    assert stores.known(site) == ["jobstore"]
    away = as_seen_here(site)
    assert isinstance(away, AwaySite)
    assert away.run == run_of_this_host(site.path)
    assert str(away.path) == str(site.path)


def test_job_stores_have_ports_of_their_own(tmp_path: Path) -> None:
    site = make_listening_site(tmp_path, database="postgres", job_stores=2, listen="127.0.0.1:7443")
    publish(site, site.settings, "elsewhere")
    endpoint = site.endpoint()
    assert endpoint is not None
    assert stores.known(site) == ["jobstore", "jobstore-2"]
    assert [str(endpoint.address_of(name)) for name in endpoint.services] == ["127.0.0.1:7443", "127.0.0.1:7444"]
    assert stores.choose(site, {"jobstore"}) == "jobstore-2"


def test_a_damaged_file_leaves_the_owner_the_socket(site: Site) -> None:
    for text in ("", "{", "[]", "{}", '"x"'):
        (site.path / "connect.json").write_text(text)
        assert site.endpoint() is None


def test_what_does_not_listen_any_more_says_nothing(site: Site) -> None:
    (site.path / "settings.toml").write_text('database = "sqlite"\n')
    again = open_site(site.path)
    publish(again, again.settings, "elsewhere")
    assert not (site.path / "connect.json").exists()
    assert again.endpoint() is None


def test_the_way_by_the_socket_loads_nothing_more(tmp_path: Path) -> None:
    site = make_listening_site(tmp_path)
    publish(site, site.settings, os.uname().nodename)
    code = (
        "import sys; from balsam.site import open_site, read_token; from balsam import rpc;"
        f"site = open_site({str(site.path)!r}); site.endpoint(); read_token(site);"
        "print(*{'balsam.endpoints', 'balsam.logins', 'balsam.certificates', 'ssl', 'cryptography', 'hashlib'}"
        " & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_login_is_kept_where_only_its_user_can_read_it(site: Site) -> None:
    file = logins.store(login_to(site, "127.0.0.1:7443"))
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert logins.find("127.0.0.1:7443") == login_to(site, "127.0.0.1:7443")
    assert logins.find("127.0.0.1:7444") is None
    assert TOKEN not in repr(logins.find("127.0.0.1:7443"))


def test_a_login_makes_an_address_a_site(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    logins.store(login_to(site, site.settings.listen))
    monkeypatch.setenv("BALSAM_DB_PATH", site.settings.listen)
    found = find_site()
    assert isinstance(found, MemberSite)
    assert (str(found.path), found.is_own, found.data) == (site.settings.listen, False, site.data)
    assert found.endpoint().authority == authority_of(site)
    assert metadata(found)[0] == ("authorization", f"Bearer {TOKEN}")
    assert not found.log.is_relative_to(site.path)


def test_without_a_login_an_address_is_none() -> None:
    with pytest.raises(SiteError, match=r"balsam login nowhere:7443"):
        open_site("nowhere:7443")


@pytest.fixture
def others(site: Site, tmp_path: Path) -> Path:
    """The directory of a site, as somebody sees it who may not read what is its owner's."""
    directory = tmp_path / "others"
    directory.mkdir()
    shutil.copy(site.path / "connect.json", directory)
    return directory


def test_a_directory_that_is_not_ours_is_reached_by_its_port(others: Path, site: Site) -> None:
    found = open_site(others)
    assert isinstance(found, MemberSite)
    assert str(found.endpoint().address) == site.settings.listen
    with pytest.raises(SiteError, match="balsam login"):
        metadata(found)
    logins.store(login_to(site, str(others)))
    assert metadata(open_site(others))[0] == ("authorization", f"Bearer {TOKEN}")


def test_a_token_file_comes_before_a_login(others: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    logins.store(login_to(site, str(others)))
    (others / "token").write_text("another\n")
    monkeypatch.setenv("BALSAM_TOKEN_FILE", str(others / "token"))
    assert metadata(open_site(others))[0] == ("authorization", "Bearer another")


def test_whom_to_trust_is_what_the_login_says(others: Path, site: Site) -> None:
    logins.store(login_to(site, str(others)))
    text = (others / "connect.json").read_text()
    (others / "connect.json").write_text(text.replace("BEGIN", "FORGED"))
    found = open_site(others)
    assert isinstance(found, MemberSite)
    assert found.endpoint().authority == authority_of(site)


def test_the_owner_trusts_their_own_credentials_only(site: Site) -> None:
    publish(site, site.settings, "elsewhere")
    file = site.path / "connect.json"
    file.write_text(file.read_text().replace("BEGIN", "FORGED"))
    endpoint = site.endpoint()
    assert endpoint is not None
    assert endpoint.authority == authority_of(site)


def test_a_file_that_others_can_change_is_not_trusted(others: Path, tmp_path: Path) -> None:
    file = others / "connect.json"
    for mode in (0o664, 0o646):
        file.chmod(mode)
        with pytest.raises(SiteError, match="is not trusted"):
            log_in(str(others), TOKEN)
    file.rename(tmp_path / "elsewhere.json")
    file.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(SiteError, match="is not a Balsam site"):
        log_in(str(others), TOKEN)


def test_a_damaged_login_says_what_to_do(site: Site) -> None:
    file = logins.store(login_to(site, "127.0.0.1:7443"))
    file.write_text("{")
    with pytest.raises(SiteError, match=r"remove it, then `balsam login`"):
        open_site("127.0.0.1:7443")


@pytest.mark.parametrize(
    "text", ["", "x", ":", f"{TOKEN} more", f"{TOKEN}:xyz", f"{TOKEN}:{'a' * 31}", f"{TOKEN}:{'a' * 32}:b", "ü" * 40]
)
def test_what_is_no_invitation_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValidationError, match="no invitation") as caught:
        split(text)
    assert TOKEN not in str(caught.value)


def test_an_invitation_is_a_token_and_a_fingerprint() -> None:
    assert split(f" {TOKEN}:{'A' * 32}\n") == (TOKEN, "a" * 32)
    assert split(TOKEN) == (TOKEN, "")


def test_a_line_without_tls_that_is_no_socket_is_refused(tmp_path: Path) -> None:
    site = make_listening_site(tmp_path)
    with pytest.raises(SiteError, match="without TLS"):
        Connection(site, address="127.0.0.1:7443").stub(JobServiceStub)


def test_services_on_another_host_that_do_not_listen_are_named(tmp_path: Path) -> None:
    site = make_listening_site(tmp_path, listen="")
    site.make_run()
    site.write_info("jobstore", pid=1, host="elsewhere")
    connection = Connection(site)
    from balsam.v1 import job_service_pb2

    with pytest.raises(SiteError, match=r"run on elsewhere: .*`balsam server --listen elsewhere:7443`"):
        connection.call(JobServiceStub, "ListJobs", job_service_pb2.ListJobsRequest())


def test_a_port_that_nobody_listens_at_is_named(site: Site) -> None:
    publish(site, site.settings, "elsewhere")
    endpoint = site.endpoint()
    assert endpoint is not None
    problem = endpoint.examine()
    assert isinstance(problem, Unavailable)
    assert f"nothing listens at {site.settings.listen}" in str(problem)
    refused = NotAllowed("no")
    assert endpoint.explained(refused, "jobstore") is refused
