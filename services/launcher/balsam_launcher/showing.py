"""What `--print-command` and the log say of a launcher: its nodes, and how runs would be started. Pure."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Sequence

from balsam.commands import base_environment
from balsam.site import Site
from balsam.v1 import job_pb2, lease_pb2
from balsam_launcher.leased import LeasedJob, need_of_job
from balsam_launcher.mpi import Mpi, NoMpi
from balsam_launcher.nodes import Node
from balsam_launcher.pool import Pool
from balsam_launcher.prepare import Surroundings, make_start

_MOST_NAMES = 4
_RANKS = 2


def nodes(found: Sequence[Node]) -> str:
    """The nodes, those that are alike together: ``2 nodes of 4 cores, 2 GPUs (0,1): n1, n2``."""
    groups = [
        _group(kind, list(alike))
        for kind, alike in itertools.groupby(sorted(found, key=_kind, reverse=True), key=_kind)
    ]
    return "; ".join(groups)


def _kind(node: Node) -> tuple[int, int, tuple[str, ...]]:
    return node.cores, node.threads_per_core, node.gpus


def _group(kind: tuple[int, int, tuple[str, ...]], alike: Sequence[Node]) -> str:
    cores, threads, gpus = kind
    parts = [_counted(cores, "core") + (f" of {threads} threads" if threads > 1 else "")]
    if gpus:
        parts.append(f"{_counted(len(gpus), 'GPU')} ({','.join(gpus)})")
    return f"{_counted(len(alike), 'node')} of {', '.join(parts)}: {_names(alike)}"


def _names(alike: Sequence[Node]) -> str:
    shown = ", ".join(node.name for node in alike[:_MOST_NAMES])
    return f"{shown}, ... {alike[-1].name}" if len(alike) > _MOST_NAMES else shown


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("s" if count != 1 else "")


def mpi(command: Mpi | NoMpi) -> str:
    """The MPI run command, in one word or with the reason."""
    return f"none ({command.reason})" if isinstance(command, NoMpi) else f"{command.name} ({command.program})"


def commands(site: Site, found: Sequence[Node], job_mode: str, command: Mpi | NoMpi) -> list[str]:
    """How a serial job and an MPI job would be started, a line each; those that the mode allows."""
    around = Surroundings(site.path, site.data, base_environment(os.environ), found, job_mode, command, "")
    lines = []
    if job_mode != "mpi":
        lines.append(f"serial: {_words(job_pb2.Job(args='COMMAND', attempt=1), around)}")
    if job_mode == "serial":
        return lines
    if isinstance(command, NoMpi):
        return [*lines, f"MPI:    none: {command.reason}"]
    job = job_pb2.Job(args="COMMAND", attempt=1, num_nodes=len(found), ranks_per_node=_RANKS)
    shown = f"{command.name}; here with num_nodes = {len(found)}, ranks_per_node = {_RANKS}"
    return [*lines, f"MPI:    {_words(job, around)}    ({shown})"]


def _words(job: job_pb2.Job, around: Surroundings) -> str:
    need = need_of_job(job, around.job_mode)
    assert need is not None
    leased = LeasedJob(1, lease_pb2.Lease(handle=1, token=1), job, None, "", need)
    pool = Pool(around.nodes)
    pool.add(leased)
    for placed in pool.startable():
        return shlex.join(make_start(placed, around).argv)
    raise AssertionError("a job of all nodes fits on all nodes")
