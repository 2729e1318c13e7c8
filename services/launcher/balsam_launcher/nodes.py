"""Finding the nodes that a launcher may use, with their cores and GPUs."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from balsam.errors import ValidationError
from balsam_launcher import allocation, gpus
from balsam_launcher.allocation import Host
from balsam_launcher.topology import cores_of_this_host


@dataclass(frozen=True)
class Node:
    """A node.

    Attributes:
        name: the name by which MPI run commands know it.
        cores: cores that are ours there.
        threads_per_core: hardware threads of each.
        gpus: ids of the GPUs to assign there: numbers, or what the batch system says.
        local: it is this host.
    """

    name: str
    cores: int
    threads_per_core: int = 1
    gpus: tuple[str, ...] = ()
    local: bool = False


@dataclass(frozen=True)
class ThisHost:
    """What is found out on this host itself.

    Attributes:
        name: its name; of several emulated nodes on one host, of this one.
        cores: cores that this process may use.
        threads_per_core: hardware threads of each.
        gpus: how many GPUs there are.
    """

    name: str
    cores: int
    threads_per_core: int = 1
    gpus: int = 0


@dataclass(frozen=True)
class Wanted:
    """What settings and options say of each node. 0 (of `gpus`: None): that is to be found out."""

    cores: int = 0
    gpus: int | None = None


NOTHING_WANTED = Wanted()


def find_nodes(
    environ: Mapping[str, str] | None = None, wanted: Wanted = NOTHING_WANTED, *, node_file: str = ""
) -> list[Node]:
    """The nodes of this allocation, else those of a file, else this host. Looks at the host; may read a file.

    Args:
        environ: the environment; None: that of this process.
        wanted: what is known of each node.
        node_file: the setting of that name; empty: none.

    Raises:
        ValidationError: what the environment says is damaged, or a file cannot be read.
    """
    environ = os.environ if environ is None else environ
    found = allocation.find(environ, node_file)
    here = this_host(environ)
    hosts = found.hosts if found is not None else (Host(here.name),)
    return nodes_of(hosts, here, gpus.assigned(environ), wanted)


def this_host(environ: Mapping[str, str]) -> ThisHost:
    """What is found out here. Looks at files of the kernel."""
    cores = cores_of_this_host()
    # Emulated nodes of Slurm share one host name.
    name = environ.get("SLURMD_NODENAME") or socket.gethostname()
    return ThisHost(name, len(cores), max(map(len, cores)), gpus.count_of_this_host())


def nodes_of(
    hosts: tuple[Host, ...], here: ThisHost, assigned: tuple[str, tuple[str, ...]] | None, wanted: Wanted
) -> list[Node]:
    """Nodes, from what a batch system says of its hosts and what is found out here. Pure.

    What nobody says of another host is taken to be as it is here.

    Args:
        hosts: the hosts.
        here: this one.
        assigned: GPUs that the environment assigns to this process, and the variable that does.
        wanted: what settings and options say.
    """
    return [_node(host, here, assigned[1] if assigned is not None else None, wanted) for host in hosts]


def _node(host: Host, here: ThisHost, assigned: tuple[str, ...] | None, wanted: Wanted) -> Node:
    local = is_same_host(host.name, here.name)
    of_cpus = max(1, host.cpus // here.threads_per_core) if host.cpus else here.cores
    cores = wanted.cores or host.cores or of_cpus
    if local and not wanted.cores:
        cores = min(cores, here.cores)  # fewer than Slurm says are there on emulated nodes
    return Node(host.name, cores, here.threads_per_core, _gpu_ids(host, here, local, assigned, wanted), local)


def _gpu_ids(
    host: Host, here: ThisHost, local: bool, assigned: tuple[str, ...] | None, wanted: Wanted
) -> tuple[str, ...]:
    known = gpus.numbered(host.gpus or here.gpus)
    if assigned is not None and (local or all(word.isdecimal() for word in assigned)):
        known = assigned  # UUIDs are different on every host, numbers most often are not
    elif assigned is not None:
        known = gpus.numbered(len(assigned))
    if wanted.gpus is None:
        return known
    return known[: wanted.gpus] if len(known) >= wanted.gpus else gpus.numbered(wanted.gpus)


def is_same_host(name: str, other: str) -> bool:
    """Whether two names are of one host; one of them may have a domain."""
    return name == other or (name.partition(".")[0] == other.partition(".")[0] and ("." in name) != ("." in other))


def select(nodes: list[Node], *, limit: int | None = None, offset: int = 0) -> list[Node]:
    """At most `limit` nodes after the first `offset`.

    Raises:
        ValidationError: that leaves none.
    """
    chosen = nodes[offset:][:limit]
    if not chosen:
        names = ", ".join(node.name for node in nodes[:3])
        raise ValidationError(
            f"offset_nodes = {offset} leaves no node: there are {len(nodes)} ({names})", field="offset_nodes"
        )
    return chosen
