"""A real SSH server of the tests on loopback, and clients that know it.

ssh, scp and sftp look for their configuration in the home directory of the account, whatever HOME says. So they are put
on PATH as scripts that call the real ones with a configuration of the tests, and with nothing of the account's own.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.components import missing

_CLIENTS = ("ssh", "scp", "sftp")
_PROGRAMS = (*_CLIENTS, "sshd", "ssh-keygen", "rsync")
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
_START_SECONDS = 20.0


@dataclass(frozen=True)
class SshServer:
    """An SSH server, for the account that runs the tests. Hosts that clients know by name:

    - ``box``: the server;
    - ``refused``: it, with a key that it does not know;
    - ``stranger``: it, as a host whose key clients do not know;
    - ``gone``: a port where nobody listens;
    - ``mute``: a port where somebody listens and says nothing.
    """

    directory: Path
    port: int

    @property
    def clients(self) -> Path:
        """The directory with ssh, scp and sftp, to be first on PATH."""
        return self.directory / "bin"


@pytest.fixture(scope="session")
def ssh_server() -> Iterator[SshServer]:
    """The server, running."""
    lacking = [program for program in _PROGRAMS if not shutil.which(program, path=_PATH)]
    if lacking:
        missing("SSH", f"there is no {', '.join(lacking)}; `make system` as root installs them")
    with tempfile.TemporaryDirectory(prefix="balsam-ssh-") as name, socket.socket() as mute:
        directory = Path(name)
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        for key in ("host", "user", "other"):
            _make_key(directory / key)
        process, port = _start(directory)
        try:
            _configure_clients(directory, port, mute.getsockname()[1])
            yield SshServer(directory, port)
        finally:
            process.terminate()
            process.wait()


@pytest.fixture
def ssh(ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch) -> SshServer:
    """The server, and its clients on PATH, for what the test starts too."""
    monkeypatch.setenv("PATH", f"{ssh_server.clients}:{os.environ['PATH']}")
    return ssh_server


def _make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, timeout=30)


def _start(directory: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Starts the server on a free port. One that somebody else takes meanwhile: another one."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists, and only installed services make it
    for _ in range(5):
        port = _free_port()
        process = _start_on(directory, port)
        if _answers(process, port):
            return process, port
        process.kill()
        process.wait()
    pytest.fail(f"sshd does not start\n{(directory / 'sshd.log').read_text(errors='replace')}")


def _start_on(directory: Path, port: int) -> subprocess.Popen[bytes]:
    configuration = directory / "sshd_config"
    configuration.write_text(
        f"""
        ListenAddress 127.0.0.1
        Port {port}
        HostKey {directory}/host
        AuthorizedKeysFile {directory}/user.pub
        PidFile none
        UsePAM no
        StrictModes no
        PermitRootLogin prohibit-password
        PasswordAuthentication no
        KbdInteractiveAuthentication no
        PrintMotd no
        MaxStartups 100
        Subsystem sftp internal-sftp
        """
    )
    program = shutil.which("sshd", path=_PATH)
    assert program
    # It starts itself anew for every connection, which takes its absolute path.
    command = [os.path.realpath(program), "-D", "-e", "-f", os.fspath(configuration)]
    with (directory / "sshd.log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            time.sleep(0.02)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _configure_clients(directory: Path, port: int, mute_port: int) -> None:
    key = " ".join((directory / "host.pub").read_text().split()[:2])
    (directory / "known").write_text(f"the-server {key}\n")
    # Of each option, the first value that is found counts.
    (directory / "config").write_text(
        f"""
        Host refused
            IdentityFile {directory}/other
        Host box stranger
            IdentityFile {directory}/user
        Host stranger
            HostKeyAlias a-stranger
        Host gone
            Port 1
        Host mute
            Port {mute_port}
        Host *
            HostName 127.0.0.1
            HostKeyAlias the-server
            Port {port}
            IdentitiesOnly yes
            IdentityAgent none
            GlobalKnownHostsFile /dev/null
            UserKnownHostsFile {directory}/known
        """
    )
    (directory / "bin").mkdir()
    for name in _CLIENTS:
        real = shutil.which(name, path=_PATH)
        script = directory / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {real} -F {directory}/config "$@"\n')
        script.chmod(0o755)
