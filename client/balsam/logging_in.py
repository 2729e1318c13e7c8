"""`balsam login`: from an invitation to a login that works.

An invitation is ``TOKEN:FINGERPRINT``, as the owner of a site is told by `balsam server --add-user`. The fingerprint is
that of the site's authority (`balsam.certificates.fingerprint`): what a stranger answers in between is noticed by it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import ssl
from pathlib import Path
from typing import Any

from balsam import stores
from balsam.addresses import Address, looks_like_address, parse_address
from balsam.certificates import FINGERPRINT_DIGITS, fingerprint_of
from balsam.endpoints import Endpoint, read_connect
from balsam.errors import NotAllowed, SiteError, Unavailable, ValidationError
from balsam.logins import Login, store
from balsam.rpc import BAD_CERTIFICATE, UNREACHABLE, VERSION_KEY, unpack_error
from balsam.site import SETTINGS_FILE, Site
from balsam.version import VERSION

_TOKEN = re.compile(r"[A-Za-z0-9_.~+/=-]{16,500}")
_FINGERPRINT = re.compile(rf"[0-9a-f]{{{FINGERPRINT_DIGITS}}}")
_SECONDS = 10.0


def log_in(site: str, invitation: str) -> tuple[Login, str]:
    """Checks an invitation with the site itself, and keeps the login; gives it and the role of the user.

    Args:
        site: the directory of a site, or ``HOST:PORT``.
        invitation: what the owner has given.

    Raises:
        SiteError: there is no such site, or it does not listen.
        ValidationError: this is no invitation.
        NotAllowed: what answers is not the site, or the site does not accept the token.
        Unavailable: nothing answers.
    """
    token, fingerprint = split(invitation)
    name, endpoint = _way(site, fingerprint)
    said = _ask(endpoint, token)
    login = Login(
        site=name,
        address=str(endpoint.address),
        authority=endpoint.authority,
        token=token,
        path=said.path,
        host=said.host,
        user=said.user,
        job_stores=max(1, said.settings.job_stores),
    )
    store(login)
    return login, said.role


def split(invitation: str) -> tuple[str, str]:
    """Token and fingerprint of an invitation; the latter may be empty. Raises ValidationError, without them."""
    token, _, fingerprint = invitation.strip().partition(":")
    if not _TOKEN.fullmatch(token) or (fingerprint and not _FINGERPRINT.fullmatch(fingerprint.lower())):
        raise ValidationError(
            "this is no invitation: it is the one word TOKEN:FINGERPRINT that `balsam server --add-user` has printed",
            field="invitation",
        )
    return token, fingerprint.lower()


def _way(site: str, fingerprint: str) -> tuple[str, Endpoint]:
    """The name under which the login is kept, and the way to the site."""
    directory = Path(site).expanduser().absolute()
    if directory.is_dir():
        return str(directory), _way_of_directory(directory, fingerprint)
    if not looks_like_address(site):
        raise SiteError(f"{site} is neither the directory of a site nor HOST:PORT")
    address = parse_address(site, "SITE")
    if not fingerprint:
        raise NotAllowed(
            f"the invitation has no fingerprint, so that nobody knows who answers at {address}: use the whole word "
            "TOKEN:FINGERPRINT, or log in to the directory of the site"
        )
    return str(address), Endpoint(address, authority_at(address, fingerprint), login=str(address))


def _way_of_directory(directory: Path, fingerprint: str) -> Endpoint:
    endpoint = read_connect(directory)
    if endpoint is None:
        if not (directory / SETTINGS_FILE).exists():
            raise SiteError(f"{directory} is not a Balsam site, or you may not enter it; try HOST:PORT")
        raise SiteError(f"{directory} does not listen for others: its owner makes it, by `balsam server --listen`")
    if fingerprint and not hmac.compare_digest(fingerprint, fingerprint_of(endpoint.authority)):
        raise NotAllowed(
            f"the invitation is for another site than {directory}, or from before its authority was renewed: ask its "
            "owner for a new one (`balsam server --add-user`)",
            reason=BAD_CERTIFICATE,
        )
    return endpoint


def authority_at(address: Address, fingerprint: str) -> str:
    """The authority's certificate (PEM) that is shown at an address, if it has this fingerprint.

    Raises:
        NotAllowed: what answers there shows another one.
        Unavailable: nothing answers, or not by TLS.
    """
    try:
        chain = _chain(address)
    except (ssl.SSLError, ConnectionResetError):
        text = f"what listens at {address} does not speak TLS: it is not the job store of a Balsam site"
        raise Unavailable(text, reason=UNREACHABLE) from None
    except OSError as error:
        raise Unavailable(f"{address} cannot be reached: {error.strerror or 'no answer'}", reason=UNREACHABLE) from None
    for certificate in chain:
        if hmac.compare_digest(hashlib.sha256(certificate).hexdigest()[:FINGERPRINT_DIGITS], fingerprint):
            return ssl.DER_cert_to_PEM_cert(certificate)
    raise NotAllowed(
        f"what answers at {address} is not the site of this invitation: do not trust it; or the site has a new "
        "authority, then ask its owner for a new invitation",
        reason=BAD_CERTIFICATE,
    )


def _chain(address: Address) -> list[bytes]:
    """The certificates (DER) that are shown at an address; nothing is proved by that yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((address.host, address.port), _SECONDS) as line,
        context.wrap_socket(line, server_hostname=address.host) as secure,
    ):
        if hasattr(secure, "get_unverified_chain"):  # from Python 3.13 on
            chain: list[bytes] = secure.get_unverified_chain()
            return chain
        inner: Any = secure._sslobj  # type: ignore[attr-defined]
        return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in inner.get_unverified_chain()]


def _ask(endpoint: Endpoint, token: str) -> Any:
    """What the site says of itself to who has this token."""
    import grpc

    from balsam.v1 import site_service_pb2
    from balsam.v1.site_service_pb2_grpc import SiteServiceStub

    metadata = (("authorization", f"Bearer {token}"), (VERSION_KEY, VERSION))
    with endpoint.channel(stores.FIRST) as channel:
        try:
            request = site_service_pb2.GetSiteRequest(version=VERSION)
            return SiteServiceStub(channel).GetSite(request, timeout=_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            raise endpoint.explained(unpack_error(error), stores.FIRST) from None


def is_ours(site: str) -> bool:
    """Whether this is the directory of a site whose owner we are: no login is needed."""
    from balsam.site import open_site

    try:
        return type(open_site(site)) is Site
    except SiteError:
        return False
