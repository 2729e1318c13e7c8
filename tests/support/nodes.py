"""Launchers over several nodes: sites for them, and what runs where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from balsam.processes import process_table
from balsam.site import Site
from tests.support.sites import make_test_site


def two_nodes(directory: Path, **settings: Any) -> Site:
    """A site whose launchers have nodeA and nodeB, both on this host: names that need not resolve."""
    nodes = directory / "nodes"
    nodes.write_text("nodeA\nnodeB\n")
    values: dict[str, Any] = {
        "node_file": str(nodes),
        "mpi_command": "mpich",
        "mpi_options": "-launcher fork",
        "launcher_address": "127.0.0.1",
        "lease_seconds": 4.0,
    }
    return make_test_site(directory, **values | settings)


def members(launcher: int) -> dict[int, int]:
    """Number of the node -> pid of what keeps its agent, for the members that a launcher has started."""
    found = {}
    for pid in process_table().descendants([launcher]):
        if b"balsam_launcher.member" in _read(pid, "cmdline").split(b"\0"):
            for variable in _read(pid, "environ").split(b"\0"):
                name, _, value = variable.partition(b"=")
                if name == b"PMI_RANK":  # the run command, which names it too, has none
                    found[int(value)] = pid
    return found


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
