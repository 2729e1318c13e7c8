"""The certificates of a site that listens: an authority of its own, and what that signs for the site's job stores.

In ``SITE/credentials`` lie ``authority.pem`` (the authority's key and certificate) and ``server.pem`` (the job stores'
key and certificate, and that of the authority, which a client without it gets in the handshake and compares with the
fingerprint in its invitation). Both are 0600 and replaced as a whole. X.509 as in RFC 5280, keys on the curve P-256.

Only where certificates are made or looked at is the package `cryptography` needed: not in job stores, nor by clients.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from balsam.addresses import Address, parse_address
from balsam.endpoints import Endpoint, read_connect, write_connect
from balsam.errors import SiteError
from balsam.site import CONNECT_FILE, Site, write_secret

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    from balsam.settings import Settings

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
WARNING_DAYS = 30
"""A certificate that expires sooner is worth a warning."""
FINGERPRINT_DIGITS = 32

_AUTHORITY_FILE, _SERVER_FILE = "authority.pem", "server.pem"
_CLOCKS_DIFFER = datetime.timedelta(hours=1)
_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----\n.*?-----END \1-----\n?", re.DOTALL)
_LONGEST_NAME = 64  # of a common name


def server_file(site: Site) -> Path:
    """What the job stores show: their key and certificate, and the authority's certificate."""
    return site.credentials / _SERVER_FILE


def blocks(pem: str, kind: str) -> list[str]:
    """The blocks of a PEM text that are of a kind: `CERTIFICATE`, `PRIVATE KEY`."""
    return [found[0] for found in _BLOCK.finditer(pem) if found[1] == kind]


def fingerprint(site: Site) -> str:
    """By which a client knows the authority of a site; empty where the site does not listen."""
    endpoint = read_connect(site.path)
    return fingerprint_of(endpoint.authority) if endpoint is not None else ""


def fingerprint_of(certificate: str) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of a certificate (PEM). Raises SiteError if it is none."""
    return hashlib.sha256(_der(certificate)).hexdigest()[:FINGERPRINT_DIGITS]


def _der(certificate: str) -> bytes:
    try:
        lines = blocks(certificate, "CERTIFICATE")[0].splitlines()
        return base64.b64decode("".join(lines[1:-1]), validate=True)
    except (IndexError, ValueError):
        raise SiteError("this is no certificate") from None


# What is made


def establish(site: Site, settings: Settings) -> None:
    """Gives a site that listens what it needs: an authority if it has none, a certificate, and `connect.json`.

    Raises:
        SiteError: it cannot be made.
    """
    if not (site.credentials / _AUTHORITY_FILE).exists():
        _make_authority(site)
    _make_server(site, settings)
    publish(site, settings, _host_said(site))


def renew(site: Site) -> None:
    """A new certificate by the same authority; job stores that run show it to whoever connects from now on.

    Raises:
        SiteError: the site does not listen, or it cannot be made.
    """
    establish(site, _listening_settings(site))


def replace_authority(site: Site) -> None:
    """A new authority, and a certificate by it: nobody who has logged in before is connected any more.

    Raises:
        SiteError: the site does not listen, or it cannot be made.
    """
    settings = _listening_settings(site)
    _make_authority(site)
    establish(site, settings)


def publish(site: Site, settings: Settings, host: str) -> None:
    """Says in `connect.json` where the site listens and on which host it runs; removes it where it does not listen.

    Raises:
        SiteError: the site has no certificate.
    """
    if not settings.listen:
        (site.path / CONNECT_FILE).unlink(missing_ok=True)
        return
    endpoint = Endpoint(public_address(settings), authority_of(site), host, settings.job_stores, str(site.path))
    try:
        is_said = read_connect(site.path) == endpoint
    except SiteError:
        is_said = False
    if not is_said:
        write_connect(site, endpoint)


def authority_of(site: Site) -> str:
    """The certificate of the authority that has signed what the job stores show (PEM).

    Raises:
        SiteError: there is none.
    """
    try:
        return blocks(server_file(site).read_text(), "CERTIFICATE")[1]
    except (OSError, IndexError):
        raise SiteError(
            f"there is no certificate in {server_file(site)}: make one with `balsam server --new-certificate`"
        ) from None


def public_address(settings: Settings) -> Address:
    """The address that clients are told."""
    address = parse_address(settings.listen, "listen =", settings.job_stores)
    if not address.is_everywhere:
        return address
    names = settings.listen_names.split()
    return Address(names[0] if names else socket.gethostname(), address.port)


def names_of(settings: Settings, here: list[str]) -> list[str]:
    """The names and addresses that a certificate is made for, without repeats.

    Args:
        settings: of the site.
        here: names and addresses of this host.
    """
    address = parse_address(settings.listen, "listen =", settings.job_stores)
    given = [] if address.is_everywhere else [address.host]
    return list(dict.fromkeys([*given, *settings.listen_names.split(), *here]))


def names_of_this_host() -> list[str]:
    """Its names, and the addresses of its interfaces that are not bound to one link."""
    import psutil

    names = [socket.gethostname(), socket.getfqdn(), "localhost"]
    addresses = [
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6) and "%" not in entry.address
    ]
    return [name for name in dict.fromkeys([*names, *addresses]) if name]


def _listening_settings(site: Site) -> Settings:
    if not site.settings.listen:
        raise SiteError(f"{site.path} does not listen: `balsam server --listen HOST:PORT` makes it", field="listen")
    return site.settings


def _host_said(site: Site) -> str:
    try:
        endpoint = read_connect(site.path)
    except SiteError:
        return ""
    return endpoint.host if endpoint is not None else ""


# X.509


def now() -> datetime.datetime:
    """The time, which certificates are made with."""
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def _make_authority(site: Site) -> None:
    require_cryptography()
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    # Another name each time: who has the one of before must not take it for the same.
    name = _name(f"Balsam site {site.name}"[: _LONGEST_NAME - 9] + f" {os.urandom(4).hex()}")
    builder = _builder(name, name, key.public_key(), AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    _write(site.credentials / _AUTHORITY_FILE, _key_pem(key) + _pem(certificate))


def _make_server(site: Site, settings: Settings) -> None:
    require_cryptography()
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority = _read_authority(site)
    key = ec.generate_private_key(ec.SECP256R1())
    names = names_of(settings, names_of_this_host())
    builder = _builder(_name(names[0]), authority.certificate.subject, key.public_key(), SERVER_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
    )
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    certificate = builder.add_extension(issuer, critical=False).sign(authority.key, hashes.SHA256())
    _write(server_file(site), _key_pem(key) + _pem(certificate) + _pem(authority.certificate))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    from cryptography import x509

    made = now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(made - _CLOCKS_DIFFER)
        .not_valid_after(made + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:_LONGEST_NAME])])


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError:
        raise SiteError(f"listen_names: {name!r} is neither an address nor a name of a host") from None


def _read_authority(site: Site) -> _Authority:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    file = site.credentials / _AUTHORITY_FILE
    try:
        text = file.read_bytes()
        key = load_pem_private_key(text, None)
        certificate = x509.load_pem_x509_certificate(text)
    except (OSError, ValueError) as error:
        raise SiteError(f"cannot use the authority in {file}: {error}; `balsam server --new-authority`") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SiteError(f"{file} holds another kind of key than it should: `balsam server --new-authority`")
    return _Authority(key, certificate)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _write(target: Path, text: str) -> None:
    """Puts a secret file in the place of what was there, as a whole."""
    draft = target.with_suffix(f".{os.getpid()}.tmp")
    write_secret(draft, text)
    draft.replace(target)


def require_cryptography() -> None:
    """Raises SiteError where the package is missing."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise SiteError("certificates are made with the package cryptography: `pip install cryptography`") from None


# What is looked at


def expiry(site: Site) -> tuple[datetime.datetime, datetime.datetime]:
    """When the certificate of the job stores expires, and that of the authority.

    Raises:
        SiteError: there are none, or they cannot be read.
    """
    require_cryptography()
    from cryptography import x509

    authority_of(site)  # says what to do where there is none
    try:
        found = x509.load_pem_x509_certificates(server_file(site).read_bytes())
    except (OSError, ValueError) as error:
        raise SiteError(f"cannot read {server_file(site)}: {error}; `balsam server --new-certificate`") from None
    return found[0].not_valid_after_utc, found[1].not_valid_after_utc
