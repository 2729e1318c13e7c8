"""Who has no token takes nothing from those who have: no connections, no memory, no turn."""

from __future__ import annotations

import contextlib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psutil
import pytest

from balsam.certificates import authority_of
from balsam.site import Site
from balsam.v1.site_service_pb2 import GetSiteRequest
from tests.support.odd_job_stores import job_store_after
from tests.support.rpc_client import Client
from tests.support.tls import make_listening_site, secure_channel

DESCRIPTORS = 400
MESSAGE = b"x" * (14 << 20)
CALLS = 40


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_listening_site(tmp_path)


def test_connections_that_say_nothing_keep_nobody_out(site: Site) -> None:
    few = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({DESCRIPTORS}, {DESCRIPTORS}))"
    with job_store_after(few, site) as process, contextlib.ExitStack() as opened:
        host, _, port = site.settings.listen.rpartition(":")
        for _ in range(DESCRIPTORS + 100):
            with contextlib.suppress(OSError):
                line = opened.enter_context(socket.create_connection((host, int(port)), 5))
                opened.enter_context(say_nothing(site, line))
        assert psutil.Process(process.pid).num_fds() < DESCRIPTORS - 100
        assert Client(site, patient=True).call("SiteService/GetSite", GetSiteRequest()).jobs == 0
    assert "Traceback" not in (site.log / "jobstore.console").read_text()


def say_nothing(site: Site, line: socket.socket) -> ssl.SSLSocket:
    """Makes it an HTTP/2 connection over TLS, without a call."""
    context = ssl.create_default_context(cadata=authority_of(site))
    context.set_alpn_protocols(["h2"])
    secure = context.wrap_socket(line, server_hostname=site.settings.listen.rpartition(":")[0])
    secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    return secure


def test_what_comes_without_a_token_is_not_read(site: Site) -> None:
    with job_store_after("", site) as process:
        before = psutil.Process(process.pid).memory_info().rss
        with ThreadPoolExecutor(CALLS) as threads:
            codes = set(threads.map(lambda _: code_of_a_large_call(site), range(CALLS)))
        grown = psutil.Process(process.pid).memory_info().rss - before
        # The connection may be cut while the message is on its way.
        assert (
            {grpc.StatusCode.UNAUTHENTICATED} <= codes <= {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE}
        )
        assert grown < CALLS * len(MESSAGE) / 4
        assert Client(site, patient=True).call("SiteService/GetSite", GetSiteRequest()).jobs == 0


def code_of_a_large_call(site: Site) -> grpc.StatusCode:
    with secure_channel(site) as channel:
        call = channel.unary_unary("/balsam.v1.JobService/UpdateJobs")
        with pytest.raises(grpc.RpcError) as caught:
            call(MESSAGE, timeout=60)
        code: grpc.StatusCode = caught.value.code()
        return code
