"""The job store's port: who gets what there, logging in, certificates that are wrong, expired or renewed."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import balsam
from balsam import certificates, logins
from balsam import client as clients
from balsam.client import Client
from balsam.errors import BalsamError, NotAllowed, Unavailable
from balsam.health import MOST_WATCHES_OF_HOST
from balsam.logging_in import log_in
from balsam.query import EVERYTHING
from balsam.rpc import BAD_CERTIFICATE, CHANNEL_OPTIONS, UNREACHABLE
from balsam.serving import user_name
from balsam.site import Site, open_site, read_owner_token
from tests.support.processes import Services, services
from tests.support.rpc_client import METHODS
from tests.support.sites import wait_for_states, wait_until
from tests.support.tls import (
    free_port,
    handshake,
    invitation,
    make_listening_site,
    other_clock,
    secure_channel,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that listens, running; not changed by tests."""
    site = make_listening_site(tmp_path_factory.mktemp("tls"))
    with services(site):
        yield site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site that listens; its services do not run."""
    return make_listening_site(tmp_path)


@pytest.fixture(name="services")
def job_store(site: Site) -> Iterator[Services]:
    """The job store of the fixture `site`, running."""
    with services(site, "jobstore") as running:
        yield running


def log_in_at(site: Site) -> Client:
    """A client that has logged in at the port of a site."""
    log_in(site.settings.listen, invitation(site))
    return Client(open_site(site.settings.listen), retry_seconds=0)


def count(client: Client) -> int:
    """Jobs there are, as one who connects now is told."""
    client.close()
    found: int = client.BalsamJob.objects.count()
    return found


def refusal(client: Client) -> BalsamError:
    """Why one who connects now is not let in."""
    with pytest.raises(BalsamError) as caught:
        count(client)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


# Who has no token


@pytest.mark.parametrize("token", ["", "Bearer ", "Bearer owner." + "x" * 43, "Bearer user.x", "Basic eA=="])
def test_without_a_token_every_method_is_refused(shared: Site, token: str) -> None:
    with secure_channel(shared) as channel:
        for method in METHODS.values():
            path = f"/{method.containing_service.full_name}/{method.name}"
            kinds = {(True, True): channel.stream_stream, (False, True): channel.unary_stream}
            call = kinds.get((method.client_streaming, method.server_streaming)) or (
                channel.stream_unary if method.client_streaming else channel.unary_unary
            )
            metadata = [("authorization", token)] if token else []
            with pytest.raises(grpc.RpcError) as caught:
                list(call(path)(iter([b""]) if method.client_streaming else b"", metadata=metadata, timeout=20))
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED, path


def test_health_says_that_it_serves_and_no_more(shared: Site) -> None:
    with secure_channel(shared) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert answer == health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            stub.Check(health_pb2.HealthCheckRequest(service="balsam.v1.JobService"), timeout=20)


def test_a_stranger_holds_a_bounded_number_of_health_streams(shared: Site) -> None:
    with contextlib.ExitStack() as open_streams:
        streams = []
        for _ in range(MOST_WATCHES_OF_HOST):
            channel = open_streams.enter_context(secure_channel(shared))  # another connection changes nothing
            streams.append(health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60))
            assert next(streams[-1]).status == health_pb2.HealthCheckResponse.SERVING
        stub = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError, match="too many watch the health"):
            next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=20))
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            next(stub.Watch(health_pb2.HealthCheckRequest(service="x" * 1000), timeout=20))
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=20).status == health_pb2.HealthCheckResponse.SERVING
        assert Client(shared).jobs.count(EVERYTHING) >= 0  # who has a token is not kept out
        streams[0].cancel()

        def is_let_in() -> bool:
            with contextlib.suppress(grpc.RpcError):
                return bool(next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)))
            return False

        wait_until(is_let_in, what="there is room for one")
        for stream in streams:
            stream.cancel()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_is_1_2_or_newer(shared: Site) -> None:
    assert handshake(shared.settings.listen, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    assert handshake(shared.settings.listen, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    for old in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        with pytest.raises(OSError, match=r"(?i)ssl|version|protocol|reset"):
            handshake(shared.settings.listen, old)


def test_plain_text_gets_nothing(shared: Site) -> None:
    address = shared.settings.listen
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel, pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), 20) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = line.recv(1000)
    assert b"HTTP" not in answer
    assert b"SERVING" not in answer
    assert count(log_in_at(shared)) == 0


# Logging in


def test_who_has_logged_in_uses_the_site(shared: Site) -> None:
    client = log_in_at(shared)
    login = logins.find(shared.settings.listen)
    assert login is not None
    assert (login.path, login.user) == (str(shared.path), user_name())
    assert client.site.settings.kill_grace_seconds == shared.settings.kill_grace_seconds
    assert client.site.settings.database == "sqlite"
    assert client.site.data == shared.data
    try:
        assert balsam.connect(shared.settings.listen).BalsamJob.objects.count() == 0
    finally:
        clients.reset()


def test_settings_that_are_secret_or_of_no_use_elsewhere_are_not_told() -> None:
    from balsam.settings import Settings
    from balsam.v1.site_service_pb2 import SiteSettings

    told = {field.name for field in SiteSettings.DESCRIPTOR.fields}
    assert told <= set(Settings.__dataclass_fields__)
    assert told.isdisjoint({"database", "listen", "listen_names"})


def test_an_address_needs_the_fingerprint_of_its_authority(shared: Site) -> None:
    token = read_owner_token(shared)
    with pytest.raises(NotAllowed, match="has no fingerprint"):
        log_in(shared.settings.listen, token)
    with pytest.raises(NotAllowed, match="is not the site of this invitation"):
        log_in(shared.settings.listen, f"{token}:{'0' * 32}")
    assert list(logins.stored()) == []


def test_a_directory_vouches_for_its_authority(shared: Site, tmp_path: Path) -> None:
    (tmp_path / "connect.json").write_bytes((shared.path / "connect.json").read_bytes())
    with pytest.raises(NotAllowed, match="for another site"):
        log_in(str(tmp_path), f"{read_owner_token(shared)}:{'0' * 32}")
    log_in(str(tmp_path), read_owner_token(shared))
    assert count(Client(open_site(tmp_path))) == 0


def test_a_token_that_the_site_does_not_know_is_not_kept(shared: Site) -> None:
    with pytest.raises(NotAllowed, match="does not accept the credential"):
        log_in(shared.settings.listen, invitation(shared, "user." + "x" * 43))
    assert list(logins.stored()) == []


def test_nobody_listens_there(site: Site) -> None:
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        log_in(site.settings.listen, invitation(site))
    assert caught.value.reason == UNREACHABLE


def test_what_listens_there_does_not_speak_tls(site: Site) -> None:
    host, _, port = site.settings.listen.partition(":")
    with socket.create_server((host, int(port))) as server:
        server.settimeout(20)

        def answer() -> None:
            for _ in range(2):
                line, _ = server.accept()
                line.recv(1000)
                line.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                line.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(Unavailable, match="does not speak TLS"):
            log_in(site.settings.listen, invitation(site))
        certificates.publish(site, site.settings, "elsewhere")
        endpoint = site.endpoint()
        assert endpoint is not None
        assert "does not speak TLS" in str(endpoint.examine())


# A launcher and its runs


def test_a_launcher_works_at_a_port_and_its_runs_too(shared: Site, tmp_path: Path) -> None:
    client = log_in_at(shared)
    client.BalsamJob(name="looks", args=f"{sys.executable} -m balsam_cli ls --json").save()
    command = [sys.executable, "-m", "balsam_launcher", "--site", shared.settings.listen]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    wait_for_states(shared, {"looks": "JOB_FINISHED"})
    job = client.BalsamJob.objects.get(name="looks")
    listed = json.loads((Path(job.working_directory) / "looks.out").read_text())
    assert [one["name"] for one in listed] == ["looks"]
    assert list((tmp_path / "user-state").rglob("launcher-*.log"))
    assert list(shared.log.glob("launcher-*.log")) == []
    job.delete()


# Certificates


def test_a_certificate_of_another_site_is_refused(site: Site, services: Services, tmp_path: Path) -> None:
    client = log_in_at(site)
    login = logins.find(site.settings.listen)
    assert login is not None
    stranger = make_listening_site(tmp_path / "stranger")
    logins.store(replace(login, authority=certificates.authority_of(stranger)))
    error = refusal(Client(open_site(site.settings.listen), retry_seconds=0))
    assert error.reason == BAD_CERTIFICATE
    assert f"log in again with `balsam login {site.settings.listen}`" in str(error)
    assert count(client) == 0


def test_a_new_certificate_counts_at_once_and_an_expired_one_is_told(
    site: Site, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = log_in_at(site)
    with other_clock(monkeypatch, -400):
        certificates.renew(site)
    error = refusal(client)
    assert "has expired" in str(error)
    assert "`balsam server --new-certificate`" in str(error)
    certificates.renew(site)
    assert count(client) == 0


def test_a_certificate_for_other_names_is_told(site: Site, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    client = log_in_at(site)
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "names_of", lambda settings, here: ["other.example"])
        certificates.renew(site)
    error = refusal(client)
    assert error.reason == BAD_CERTIFICATE
    assert "is not for the name 127.0.0.1" in str(error)


def test_after_a_new_authority_everybody_logs_in_again(site: Site, services: Services) -> None:
    before = log_in_at(site)
    open_still = Client(open_site(site.settings.listen))
    assert count(open_still) == 0
    old = invitation(site)
    certificates.replace_authority(site)
    error = refusal(before)
    assert error.reason == BAD_CERTIFICATE
    assert "log in again" in str(error)
    assert open_still.BalsamJob.objects.count() == 0  # over the connection that there was
    with pytest.raises(NotAllowed, match="new invitation"):
        log_in(site.settings.listen, old)
    assert count(log_in_at(site)) == 0


def test_a_token_that_does_not_count_any_more_is_told(site: Site, services: Services) -> None:
    client = log_in_at(site)
    site.owner_token_file.write_text("owner." + "y" * 43)
    services.stop("jobstore")
    services.start("jobstore")
    error = refusal(client)
    assert error.reason == "UNAUTHENTICATED"
    assert f"log in again with `balsam login {site.settings.listen}`" in str(error)


# Where it listens


def test_a_closed_port_is_told_and_an_open_one_found_again(site: Site, services: Services) -> None:
    client = log_in_at(site)
    services.stop("jobstore")
    error = refusal(client)
    assert (error.reason, f"nothing listens at {site.settings.listen}" in str(error)) == (UNREACHABLE, True)
    services.start("jobstore")
    assert count(client) == 0


def test_a_port_that_somebody_has_is_told_at_the_start(site: Site) -> None:
    host, _, port = site.settings.listen.partition(":")
    refused = pytest.raises(pytest.fail.Exception)
    with socket.create_server((host, int(port))), refused as caught, services(site, "jobstore"):
        pass
    assert f"cannot listen on {site.settings.listen}: another program uses this port" in str(caught.value)


def test_an_address_that_this_host_has_not_is_told_at_the_start(tmp_path: Path) -> None:
    site = make_listening_site(tmp_path, listen=f"192.0.2.1:{free_port()}")
    with pytest.raises(pytest.fail.Exception, match="does not have that address"), services(site, "jobstore"):
        pass


def test_the_socket_serves_beside_the_port(site: Site, services: Services) -> None:
    client = Client(open_site(site.path))
    assert client.site.endpoint() is None
    client.BalsamJob(name="a").save()
    assert count(log_in_at(site)) == 1
    assert site.read_info("jobstore")["listen"] == site.settings.listen


@pytest.mark.postgres
def test_of_several_job_stores_each_has_a_port(tmp_path: Path, postgres_url: str) -> None:
    port = free_port()
    site = make_listening_site(tmp_path, database=postgres_url, job_stores=2, listen=f"127.0.0.1:{port}")
    with services(site, "jobstore", "jobstore-2", "scheduler") as running:
        client = log_in_at(site)
        client.BalsamJob(name="a").save()
        for name in ("jobstore", "jobstore-2"):
            running.kill(name)
            patient = Client(open_site(site.settings.listen))
            assert count(patient) == 1
            running.start(name)
