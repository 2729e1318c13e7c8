"""The way to the job stores of a site from another host, or for somebody else than its owner: TCP with TLS.

Which way is taken is decided by `Site.endpoint`: None means the Unix sockets in the site's run directory, which only
its owner may use, on the host of its services. What others need is in ``SITE/connect.json``, or comes with a login.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balsam import stores
from balsam.addresses import Address, parse_address
from balsam.errors import BalsamError, NotAllowed, SiteError, Unavailable, ValidationError
from balsam.rpc import BAD_CERTIFICATE, CHANNEL_OPTIONS, NOT_RUNNING, UNREACHABLE
from balsam.site import CONNECT_FILE, Site, run_of_this_host

if TYPE_CHECKING:
    import grpc
    import grpc.aio

TLS_OPTIONS: tuple[tuple[str, Any], ...] = (
    *CHANNEL_OPTIONS,
    # A host or a cable that is gone says nothing: it is asked, while there is a call.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
EXAMINE_SECONDS = 3.0

# X509_V_ERR_... of OpenSSL, in `ssl.SSLCertVerificationError.verify_code`.
_EXPIRED, _NOT_YET_VALID = 10, 9
_OTHER_NAME = frozenset({62, 64})


@dataclass(frozen=True)
class Endpoint:
    """Where job stores listen, and whose certificates they must show.

    Attributes:
        address: of the first; the others are at the ports that follow.
        authority: certificate of the site's authority (PEM), the only one that counts.
        host: name of the host on which they run; empty: not known.
        job_stores: how many there are.
        login: what to log in to again when the authority has changed.
    """

    address: Address
    authority: str
    host: str = ""
    job_stores: int = 1
    login: str = "SITE"

    @property
    def services(self) -> list[str]:
        """The names of the job stores, in order."""
        return [stores.name(number) for number in range(1, self.job_stores + 1)]

    def address_of(self, service: str) -> Address:
        """Where a job store listens."""
        return self.address.of_store(stores.number(service))

    def channel(self, service: str) -> grpc.Channel:
        """A channel to a job store."""
        import grpc

        return grpc.secure_channel(str(self.address_of(service)), self._credentials(), options=TLS_OPTIONS)

    def aio_channel(self, service: str) -> grpc.aio.Channel:
        """A channel to a job store, for asyncio."""
        import grpc.aio

        return grpc.aio.secure_channel(str(self.address_of(service)), self._credentials(), options=TLS_OPTIONS)

    def _credentials(self) -> grpc.ChannelCredentials:
        import grpc

        return grpc.ssl_channel_credentials(root_certificates=self.authority.encode())

    def explained(self, problem: BalsamError, service: str) -> BalsamError:
        """The same problem, with what is wrong with the way where it did not arrive. Tries the way once, and blocks.

        A connection that is refused does not prove, as that of a Unix socket does, that no job store runs: something
        in between may have refused it.
        """
        if not isinstance(problem, Unavailable) or problem.reason not in (Unavailable.reason, NOT_RUNNING):
            return problem
        text = f"the line to the job store at {self.address_of(service)} was lost"
        return self.examine(service) or Unavailable(text, reason=UNREACHABLE)

    def examine(self, service: str = stores.FIRST) -> BalsamError | None:
        """Tries the way; gives what is wrong with it, None where it is good."""
        import socket
        import ssl

        address = self.address_of(service)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.authority)
        context.set_alpn_protocols(["h2"])
        try:
            with (
                socket.create_connection((address.host, address.port), EXAMINE_SECONDS) as line,
                context.wrap_socket(line, server_hostname=address.host),
            ):
                return None
        except ssl.SSLCertVerificationError as error:
            return NotAllowed(_of_certificate(error.verify_code, address, self.login), reason=BAD_CERTIFICATE)
        except (ssl.SSLError, ConnectionResetError):
            text = f"what listens at {address} does not speak TLS as a job store does: is it another program?"
        except ConnectionRefusedError:
            text = f"nothing listens at {address}: the owner of the site starts its services with `balsam up`"
        except socket.gaierror as error:
            text = f"the host {address.host} is not known here: {error.strerror}"
        except OSError as error:
            text = f"{address} cannot be reached: {error.strerror or 'no answer'}"
        return Unavailable(text, reason=UNREACHABLE)


def _of_certificate(code: int, address: Address, login: str) -> str:
    """What is wrong with a certificate, and what to do."""
    if code == _EXPIRED:
        return (
            f"the certificate of {address} has expired: the owner of the site makes a new one with "
            "`balsam server --new-certificate`"
        )
    if code == _NOT_YET_VALID:
        return f"the certificate of {address} is not valid yet: one of the two clocks is wrong"
    if code in _OTHER_NAME:
        return (
            f"the certificate of {address} is not for the name {address.host}: use another name of that host, or the "
            "owner of the site adds this one to the setting listen_names, then `balsam server --new-certificate`"
        )
    return (
        f"the certificate of {address} is not of this site: if its owner has made a new authority, log in again with "
        f"`balsam login {login}`; if not, do not trust what answers there"
    )


def read_connect(directory: Path) -> Endpoint | None:
    """What ``connect.json`` in a site's directory says; None: there is none, or it is not for us to read.

    Raises:
        SiteError: it is damaged, or may be somebody else's than the owner of the site.
    """
    file = directory / CONNECT_FILE
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, encoding="utf-8", errors="replace") as opened:
        info, owner = os.fstat(descriptor), directory.stat().st_uid
        if info.st_uid != owner or info.st_mode & 0o022:
            raise SiteError(f"{file} can be changed by others than the owner of the site, and is not trusted")
        return parse_connect(opened.read(), directory)


def parse_connect(text: str, directory: Path) -> Endpoint:
    """As `read_connect`, of a text. Raises SiteError if it is damaged."""
    where = str(directory / CONNECT_FILE)
    try:
        said = json.loads(text)
        address = parse_address(said["address"], where)
        return Endpoint(
            address, str(said["authority"]), str(said.get("host", "")), int(said["job_stores"]), str(directory)
        )
    except (ValueError, KeyError, TypeError, ValidationError):
        again = "the owner of the site writes it anew with `balsam down; balsam up`"
        raise SiteError(f"{where} is damaged: {again}") from None


def write_connect(site: Site, endpoint: Endpoint) -> None:
    """Writes ``connect.json``, which everybody may read who may enter the directory; it holds no secret."""
    said = {
        "address": str(endpoint.address),
        "host": endpoint.host,
        "job_stores": endpoint.job_stores,
        "authority": endpoint.authority,
    }
    target = site.path / CONNECT_FILE
    draft = target.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps(said, indent=1) + "\n")
    draft.chmod(0o644)
    draft.replace(target)


class AwaySite(Site):
    """A site of ours whose services run on another host: sockets of this host lie in a place of its own."""

    @functools.cached_property
    def run(self) -> Path:
        """Directory of sockets of this host."""
        return run_of_this_host(self.path)


def as_seen_here(site: Site) -> Site:
    """The site for a process that puts sockets of its own into the run directory."""
    return AwaySite(site.path) if type(site) is Site and site.endpoint() is not None else site
