"""Where a site listens, and its certificates: what `balsam server` changes of them."""

from __future__ import annotations

import os
from pathlib import Path

from balsam import certificates
from balsam.addresses import parse_address
from balsam.errors import SiteError
from balsam.settings import Settings, load, replaced
from balsam.site import SETTINGS_FILE, Site, find_site, sync, write_secret
from balsam_cli import access, services
from balsam_cli.output import Lines, Record, printer

NOWHERE = "none"
"""What to listen at in order not to listen any more."""
_RESTART = "Next: balsam down; balsam up"


def change(address: str | None, *, certificate: bool, authority: bool, as_json: bool) -> None:
    """What `balsam server` does with one of --listen, --new-certificate, --new-authority, on the site in use.

    Raises:
        BalsamError: it cannot be done; the site may be somebody else's.
    """
    site = find_site()
    access.must_own(site, "say where it listens")
    if address is not None:
        record, lines = listen(site, address)
    else:
        record, lines = new_authority(site) if authority else new_certificate(site)
    printer(as_json).one(record, lines)


def listen(site: Site, text: str) -> tuple[Record, Lines]:
    """Has a site listen at an address, HOST:PORT, or no more (`NOWHERE`); from the next start of its services on.

    Raises:
        BalsamError: the address is wrong, or no certificate can be made.
    """
    if text == NOWHERE:
        _set(site, "")
        certificates.publish(site, load(site.path / SETTINGS_FILE), "")
        return {"site": str(site.path), "listen": ""}, Lines(["It listens on its Unix socket only.", _next(site)])
    address = parse_address(text, "--listen", site.settings.job_stores)
    certificates.require_cryptography()
    _set(site, str(address))
    certificates.establish(site, load(site.path / SETTINGS_FILE))
    record, lines = _described(site)
    return record, Lines([*lines.lines, *warnings(address.host), _next(site)])


def new_certificate(site: Site) -> tuple[Record, Lines]:
    """A new certificate by the site's authority. It counts at once for who connects from now on.

    Raises:
        BalsamError: the site does not listen, or it cannot be made.
    """
    certificates.renew(site)
    return _described(site)


def new_authority(site: Site) -> tuple[Record, Lines]:
    """A new authority, and a certificate by it: everybody must log in again. It counts at once, too.

    Raises:
        BalsamError: the site does not listen, or it cannot be made.
    """
    certificates.replace_authority(site)
    record, lines = _described(site)
    more = "Everybody else has to log in again, with a new invitation: balsam server --add-user NAME"
    return record, Lines([*lines.lines, more])


def warnings(host: str) -> list[str]:
    """What is to be known of a host to listen at."""
    if host in ("0.0.0.0", "::"):
        return ["Note: it listens at every address of the host, to whatever networks that belongs."]
    if _is_loopback(host):
        return [f"Note: {host} is this host only: no other host can connect."]
    return []


def _is_loopback(host: str) -> bool:
    import ipaddress
    import socket

    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
        return all(ipaddress.ip_address(one).is_loopback for one in found)
    except (OSError, ValueError):
        return False


def _set(site: Site, value: str) -> None:
    """Changes the setting `listen`: in one instant, all other lines stay."""
    path: Path = site.path / SETTINGS_FILE
    draft = path.with_name(f"{SETTINGS_FILE}.{os.getpid()}.tmp")
    write_secret(draft, replaced(path.read_text(), "listen", value))
    draft.replace(path)
    sync(site.path)


def _described(site: Site) -> tuple[Record, Lines]:
    settings: Settings = load(site.path / SETTINGS_FILE)
    address = str(certificates.public_address(settings))
    until, authority_until = (moment.date().isoformat() for moment in certificates.expiry(site))
    mark = certificates.fingerprint(site)
    record = {
        "site": str(site.path),
        "listen": settings.listen,
        "address": address,
        "fingerprint": mark,
        "certificate_until": until,
        "authority_until": authority_until,
    }
    return record, Lines(
        [
            f"It listens at {address}, with TLS.",
            f"Certificate: until {until}; authority {mark}, until {authority_until}",
        ]
    )


def _next(site: Site) -> str:
    try:
        runs = any(services.find(site, service).state != "down" for service in services.started_services(site))
    except SiteError:
        runs = True
    return _RESTART if runs else "Next: balsam up"
