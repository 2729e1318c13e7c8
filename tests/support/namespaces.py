"""Hosts as network namespaces: real TCP between them, and links that can be cut. As root only.

    def test_something(hosts: Hosts) -> None:
        hosts.cut("h2")

Each host is a namespace with one interface, `eth0`, on a bridge of a namespace of its own; nothing of this machine's
network is touched. Processes and files are this machine's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.components import missing


@dataclass
class Hosts:
    """Three hosts, h1 to h3, at 10.77.0.1 to .3. `names` are their namespaces."""

    names: dict[str, str]
    switch: str

    def address(self, host: str) -> str:
        """Its address."""
        return f"10.77.0.{host[1:]}"

    def words(self, host: str) -> list[str]:
        """What to put before a command that is to run there."""
        return ["ip", "netns", "exec", self.names[host]]

    def cut(self, host: str) -> None:
        """Pulls its cable."""
        _ip("-n", self.switch, "link", "set", f"to-{host}", "down")

    def mend(self, host: str) -> None:
        """Puts it back."""
        _ip("-n", self.switch, "link", "set", f"to-{host}", "up")

    def agent_of_hydra(self, directory: Path) -> Path:
        """Writes what Hydra uses in place of ssh: it runs a command on a host, and passes Hydra's options by."""
        cases = "\n".join(f'{host}) exec {" ".join(self.words(host))} sh -c "$*" ;;' for host in self.names)
        path = directory / "on-host"
        options = 'while [ "${1#-}" != "$1" ]; do shift; done'
        path.write_text(f"#!/bin/sh\n{options}\nhost=$1; shift\ncase $host in\n{cases}\nesac\n")
        path.chmod(0o755)
        return path


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Three hosts on one network."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        missing("network namespaces", "they need root and the command ip (Debian: iproute2)")
    tag = uuid.uuid4().hex[:6]
    switch = f"balsam-{tag}-switch"
    found = Hosts({f"h{number}": f"balsam-{tag}-h{number}" for number in (1, 2, 3)}, switch)
    try:
        _set_up(found)
    except subprocess.CalledProcessError as error:
        _remove(found)
        missing("network namespaces", f"{' '.join(error.cmd)}: {error.stderr.strip()}")
    yield found
    _remove(found)


def _set_up(hosts: Hosts) -> None:
    _ip("netns", "add", hosts.switch)
    _ip("-n", hosts.switch, "link", "add", "br0", "type", "bridge")
    _ip("-n", hosts.switch, "link", "set", "br0", "up")
    for host, name in hosts.names.items():
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", f"to-{host}", "netns", hosts.switch)
        _ip("-n", name, "address", "add", f"{hosts.address(host)}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", hosts.switch, "link", "set", f"to-{host}", "master", "br0", "up")


def _remove(hosts: Hosts) -> None:
    for name in [*hosts.names.values(), hosts.switch]:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, text=True, check=True)
