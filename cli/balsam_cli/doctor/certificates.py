"""Check of the certificates of a site that listens."""

from __future__ import annotations

import datetime
import stat
from collections.abc import Iterator

from balsam import certificates
from balsam.errors import SiteError
from balsam_cli.doctor.finding import Finding, note, ok, problem, quoted
from balsam_cli.doctor.patient import Patient

_RENEW, _REPLACE = "balsam server --new-certificate", "balsam server --new-authority    # then everybody logs in again"


def check_certificates(patient: Patient) -> Iterator[Finding]:
    """They are there, nobody else can read their keys, and they are good for a while."""
    site = patient.site
    if not patient.settings.listen:
        yield ok("certificates", "none are needed: the site listens on its Unix socket only")
        return
    try:
        until, authority_until = certificates.expiry(site)
    except SiteError as error:
        yield problem("certificates", str(error), _RENEW)
        return
    open_files = [file for file in site.credentials.glob("*.pem") if stat.S_IMODE(file.stat().st_mode) & 0o077]
    if open_files:
        names = ", ".join(map(str, open_files))
        fixes = [f"chmod 600 {quoted(file)}" for file in open_files]
        yield problem("certificates", f"others may read the keys in {names}", *fixes, _REPLACE)
        return
    yield judged(until, authority_until, datetime.datetime.now(datetime.UTC))


def judged(until: datetime.datetime, authority_until: datetime.datetime, now: datetime.datetime) -> Finding:
    """What to say of certificates that expire at these times."""
    soon = now + datetime.timedelta(days=certificates.WARNING_DAYS)
    days = certificates.WARNING_DAYS
    if authority_until < now:
        return problem("certificates", f"the site's authority expired on {authority_until:%Y-%m-%d}", _REPLACE)
    if until < now:
        return problem("certificates", f"the site's certificate expired on {until:%Y-%m-%d}", _RENEW)
    if authority_until < soon:
        text = f"the site's authority expires on {authority_until:%Y-%m-%d}, in less than {days} days"
        return note("certificates", text, _REPLACE)
    if until < soon:
        text = f"the site's certificate expires on {until:%Y-%m-%d}, in less than {days} days"
        return note("certificates", text, _RENEW)
    return ok("certificates", f"good until {until:%Y-%m-%d}, the authority until {authority_until:%Y-%m-%d}")
