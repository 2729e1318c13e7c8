"""The certificates of a site, and where it says that it listens; no services."""

from __future__ import annotations

import hashlib
import json
import ssl
import stat
from pathlib import Path

import pytest

from balsam import certificates
from balsam.certificates import names_of
from balsam.endpoints import read_connect
from balsam.errors import SiteError
from balsam.settings import Settings, check
from balsam.site import Site
from tests.support.tls import make_listening_site, other_clock


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site that listens on loopback."""
    return make_listening_site(tmp_path, listen_names="site.example 10.1.2.3")


def test_keys_are_for_the_owner_only_and_what_members_read_holds_none(site: Site) -> None:
    for file in site.credentials.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    connect = site.path / "connect.json"
    assert stat.S_IMODE(connect.stat().st_mode) == 0o644
    assert "PRIVATE" not in connect.read_text()
    assert set(json.loads(connect.read_text())) == {"address", "host", "job_stores", "authority"}


def test_the_fingerprint_is_that_of_the_authority(site: Site) -> None:
    endpoint = read_connect(site.path)
    assert endpoint is not None
    der = ssl.PEM_cert_to_DER_cert(endpoint.authority)
    assert certificates.fingerprint(site) == hashlib.sha256(der).hexdigest()[:32]


def test_a_site_that_does_not_listen_has_no_certificates_and_no_fingerprint(tmp_path: Path) -> None:
    site = make_listening_site(tmp_path, listen="")
    assert certificates.fingerprint(site) == ""
    assert sorted(file.name for file in site.credentials.iterdir()) == ["owner.token", "site.key"]
    for change in (certificates.renew, certificates.replace_authority):
        with pytest.raises(SiteError, match="does not listen"):
            change(site)


def test_a_certificate_lasts_a_year_and_its_authority_ten(site: Site) -> None:
    from cryptography import x509

    until, authority_until = certificates.expiry(site)
    server, authority = x509.load_pem_x509_certificates(certificates.server_file(site).read_bytes())
    assert (until, authority_until) == (server.not_valid_after_utc, authority.not_valid_after_utc)
    hour = 1 / 24
    assert (until - server.not_valid_before_utc).total_seconds() / 86400 == pytest.approx(397 + hour, abs=0.01)
    assert (authority_until - authority.not_valid_before_utc).total_seconds() / 86400 == pytest.approx(3650, abs=0.1)
    server.verify_directly_issued_by(authority)


def test_it_is_for_the_names_that_were_given_and_those_of_this_host(site: Site) -> None:
    from cryptography import x509

    (server, _) = x509.load_pem_x509_certificates(certificates.server_file(site).read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"site.example", "localhost"} <= set(names.get_values_for_type(x509.DNSName))
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert {"127.0.0.1", "10.1.2.3"} <= addresses


def test_everywhere_is_no_name() -> None:
    settings = Settings(listen="0.0.0.0:7443", listen_names="a.example")
    assert names_of(settings, ["h1", "a.example"]) == ["a.example", "h1"]
    assert str(certificates.public_address(settings)) == "a.example:7443"


def test_a_new_certificate_keeps_the_authority_and_a_new_authority_does_not(site: Site) -> None:
    first, mark = certificates.server_file(site).read_text(), certificates.fingerprint(site)
    certificates.renew(site)
    second = certificates.server_file(site).read_text()
    assert (second != first, certificates.fingerprint(site)) == (True, mark)
    certificates.replace_authority(site)
    assert certificates.fingerprint(site) != mark


def test_a_certificate_of_another_time_is_made_with_its_clock(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = certificates.expiry(site)
    with other_clock(monkeypatch, -400):
        certificates.renew(site)
    after, _ = certificates.expiry(site)
    assert (before - after).days in (399, 400)


def test_what_is_damaged_says_what_to_do(site: Site) -> None:
    certificates.server_file(site).write_text("nonsense")
    with pytest.raises(SiteError, match="--new-certificate"):
        certificates.expiry(site)
    (site.credentials / "authority.pem").write_text("nonsense")
    with pytest.raises(SiteError, match="--new-authority"):
        certificates.renew(site)
    (site.path / "connect.json").write_text("{")
    with pytest.raises(SiteError, match="is damaged"):
        certificates.fingerprint(site)


@pytest.mark.parametrize("listen", ["login1", "login1:0", "login1:99999", "login1:65535"])
def test_a_setting_that_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(SiteError, match="listen ="):
        check({"listen": listen, "job_stores": 2, "database": "postgres"}, "settings.toml")


def test_a_name_that_no_certificate_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="neither an address nor a name"):
        make_listening_site(tmp_path, listen_names="füx")
    assert not (tmp_path / "site" / "settings.toml").exists()
