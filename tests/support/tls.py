"""Sites that listen, callers of their ports with and without TLS, and what goes over a wire."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import pytest

from balsam import certificates
from balsam.certificates import fingerprint
from balsam.rpc import CHANNEL_OPTIONS
from balsam.site import Site, read_owner_token
from tests.support.components import missing
from tests.support.sites import make_test_site

_ports = itertools.count(os.getpid() * 101)


def free_port() -> int:
    """A port of loopback that nobody listens at now, and that the system gives to no connection by itself."""
    while True:
        port = 12_000 + next(_ports) % 20_000
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def make_listening_site(directory: Path, host: str = "127.0.0.1", **settings: Any) -> Site:
    """A site that listens at a free port of a host."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        missing("certificates", "they need the package cryptography")
    return make_test_site(directory, **{"listen": f"{host}:{free_port()}", **settings})


def invitation(site: Site, token: str = "") -> str:
    """What the owner of a site would give to somebody, here with the owner's own token."""
    return f"{token or read_owner_token(site)}:{fingerprint(site)}"


@contextlib.contextmanager
def other_clock(patch: pytest.MonkeyPatch, days: float) -> Iterator[None]:
    """Certificates that are made meanwhile are made so many days from now."""
    there = certificates.now() + datetime.timedelta(days=days)
    with patch.context() as inner:
        inner.setattr(certificates, "now", lambda: there)
        yield


def secure_channel(site: Site) -> grpc.Channel:
    """A channel to the port of a site that trusts its authority, and sends nothing by itself."""
    credentials = grpc.ssl_channel_credentials(certificates.authority_of(site).encode())
    return grpc.secure_channel(site.settings.listen, credentials, options=CHANNEL_OPTIONS)


def handshake(address: str, version: ssl.TLSVersion) -> str:
    """The version that is agreed upon where the client knows this one only. Raises ssl.SSLError."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    with socket.create_connection((host, int(port)), 10) as line, context.wrap_socket(line) as secure:
        return secure.version() or ""


class Wire:
    """Keeps a copy of every packet that passes an interface of a network namespace. As root only."""

    def __init__(self, namespace: str, interface: str) -> None:
        self.packets: list[bytes] = []
        self._line = _packet_socket(namespace, interface)
        self._line.settimeout(0.1)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="wire", daemon=True)
        self._thread.start()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._line.close()

    def holds(self, text: str) -> bool:
        """Whether a text was seen, in one packet or across two."""
        return text.encode() in b"".join(self.packets) or any(text.encode() in packet for packet in self.packets)

    def _listen(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                self.packets.append(self._line.recv(1 << 16))


def _packet_socket(namespace: str, interface: str) -> socket.socket:
    """A socket stays in the namespace in which it was made: one thread goes there for that."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            with open(f"/run/netns/{namespace}") as there:
                _set_namespace(there.fileno())
            line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
            line.bind((interface, 0))
            made.append(line)
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    (result,) = made
    if isinstance(result, OSError):
        raise result
    return result


def _set_namespace(descriptor: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, 0):
        raise OSError(ctypes.get_errno(), "setns")


def on_host(words: list[str], name: str) -> list[str]:
    """What to put before a command, so that its host has this name too."""
    return [*words, "unshare", "--uts", "sh", "-c", f'hostname {name}; exec "$@"', "sh"]


def environ_of(directory: Path, **more: str) -> dict[str, str]:
    """The environment of another user, or of a user of another host: directories of their own, and our Python."""
    own = {"XDG_DATA_HOME": str(directory / "data"), "XDG_STATE_HOME": str(directory / "state")}
    run = tempfile.mkdtemp(dir=os.environ["XDG_RUNTIME_DIR"])  # a path that is short enough for sockets
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, **own, "XDG_RUNTIME_DIR": run, "PATH": path, **more}
