"""The port of a job store that listens for other hosts and users: TCP, with TLS 1.2 or newer and nothing else."""

from __future__ import annotations

import errno
import logging
import os
import socket
from pathlib import Path
from typing import Any

import grpc

from balsam.addresses import Address, parse_address
from balsam.certificates import authority_of, blocks, server_file
from balsam.errors import SiteError
from balsam.site import Site

log = logging.getLogger("balsam.serving")


class SecurePort:
    """The port of one job store.

    The certificate is read anew for a handshake when its file has changed: so a new one counts at once.

    Raises:
        SiteError: the site has no certificate, or its setting `listen` is wrong.
    """

    def __init__(self, site: Site, number: int = 1) -> None:
        settings = site.settings
        self.address: Address = parse_address(settings.listen, "listen =", settings.job_stores).of_store(number)
        self._file = server_file(site)
        self._stamp: tuple[int, int] = (0, 0)
        authority_of(site)

    def bind(self, server: grpc.aio.Server) -> None:
        """Has a server listen here, once it starts.

        Raises:
            SiteError: it cannot.
        """
        configuration = self._fetch()
        if configuration is None:
            raise SiteError(f"cannot read {self._file}: make a certificate with `balsam server --new-certificate`")
        credentials = grpc.dynamic_ssl_server_credentials(configuration, self._fetch)
        try:
            server.add_secure_port(str(self.address), credentials)
        except RuntimeError as error:
            raise SiteError(f"cannot listen on {self.address}: {why_not(self.address) or error}") from None

    def _fetch(self) -> Any:
        """The certificate for a handshake; None: the same as the last time."""
        try:
            info = os.stat(self._file)
            stamp = (info.st_ino, info.st_mtime_ns)
            if stamp == self._stamp:
                return None
            configuration = _configuration(self._file)
        except (OSError, IndexError) as error:
            log.error("cannot read the certificate %s: %s", self._file, error)
            return None
        self._stamp = stamp
        return configuration


def _configuration(file: Path) -> Any:
    text = file.read_text()
    key, chain = blocks(text, "PRIVATE KEY")[0], "".join(blocks(text, "CERTIFICATE"))
    return grpc.ssl_server_certificate_configuration([(key.encode(), chain.encode())])


def why_not(address: Address) -> str:
    """Why nobody can listen at an address; empty: it is possible."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            line.bind(place)
            line.listen()
    except socket.gaierror as error:
        return f"the host {address.host} is not known: {error.strerror}"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "another program uses this port; choose another one with `balsam server --listen`"
        if error.errno == errno.EADDRNOTAVAIL:
            return "this host does not have that address; start the services on the one that has"
        return str(error.strerror)
    return ""
