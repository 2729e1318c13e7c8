"""gRPC has no words of its own on stderr."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from balsam import certificates
from balsam.quiet import ENV_VERBOSITY
from tests.support.processes import services
from tests.support.tls import make_listening_site

CALL = f"""
import os, sys
from balsam.quiet import keep_grpc_quiet
keep_grpc_quiet()
import grpc
address, authority = sys.argv[1:]
with grpc.secure_channel(address, grpc.ssl_channel_credentials(authority.encode())) as channel:
    try:
        channel.unary_unary("/balsam.v1.SiteService/GetSite")(b"", timeout=10)
    except grpc.RpcError as error:
        print(error.code().name, "{ENV_VERBOSITY}" in os.environ)
"""


def test_a_handshake_that_fails_is_not_told_beside_our_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENV_VERBOSITY, raising=False)
    site, other = make_listening_site(tmp_path / "a"), make_listening_site(tmp_path / "b")
    with services(site, "jobstore"):
        call = [sys.executable, "-c", CALL, site.settings.listen, certificates.authority_of(other)]
        done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=60)
        assert (done.stdout, done.stderr) == ("UNAVAILABLE False\n", "")
        aloud = {**os.environ, ENV_VERBOSITY: "INFO"}
        done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=60, env=aloud)
        assert "andshake" in done.stderr
