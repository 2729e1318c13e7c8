"""What `--print-command` and the log say of a launcher: its nodes, and how runs would be started. Pure."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Shown:
    """What a launcher would run on and how, as `--print-command` shows it.

    Attributes:
        nodes: the nodes.
        seconds: how long it would work [s]; None: nobody says that there is a limit.
        time: that, and who says so, for people.
        job_mode: of the launcher.
        serial: the words that start a serial job; none: the mode allows none.
        mpi: the words that start an MPI job on all nodes; none: the mode allows none, or nothing could start it.
        mpi_kind: of which kind its MPI run command is; empty: it has none.
        why_no_mpi: why no MPI job could be started; empty: one could, or the mode allows none.
    """

    nodes: Sequence[Node]
    seconds: float | None
    time: str
    job_mode: str
    serial: Sequence[str]
    mpi: Sequence[str]
    mpi_kind: str = ""
    why_no_mpi: str = ""

    @property
    def text(self) -> str:
        """For people."""
        lines = [f"nodes:  {nodes(self.nodes)}", f"time:   {self.time}", f"mode:   {self.job_mode}"]
        if self.serial:
            lines.append(f"serial: {shlex.join(self.serial)}")
        if self.mpi:
            example = f"num_nodes = {len(self.nodes)}, ranks_per_node = {_RANKS}"
            lines.append(f"MPI:    {shlex.join(self.mpi)}    ({self.mpi_kind}; here with {example})")
        elif self.why_no_mpi:
            lines.append(f"MPI:    none: {self.why_no_mpi}")
        return "\n".join(lines)

    def record(self) -> dict[str, Any]:
        """As plain data for `--json`."""
        one = {"command": list(self.mpi), "num_nodes": len(self.nodes), "ranks_per_node": _RANKS}
        return {
            "nodes": [
                {"name": node.name, "cores": node.cores, "threads_per_core": node.threads_per_core, "gpus": node.gpus}
                for node in self.nodes
            ],
            "minutes": None if self.seconds is None else round(self.seconds / 60, 1),
            "time": self.time,
            "job_mode": self.job_mode,
            "serial": {"command": list(self.serial)} if self.serial else None,
            "mpi": {"kind": self.mpi_kind, **one} if self.mpi else None,
            "why_no_mpi": self.why_no_mpi,
        }


def shown(
    site: Site, found: Sequence[Node], job_mode: str, command: Mpi | NoMpi, seconds: float | None, time: str
) -> Shown:
    """What a launcher would run on and how; see `Shown`."""
    around = Surroundings(site.path, site.data, base_environment(os.environ), found, job_mode, command, "")
    job = job_pb2.Job(args="COMMAND", attempt=1)
    serial = _words(job, around) if job_mode != "mpi" else []
    if job_mode == "serial" or isinstance(command, NoMpi):
        why = command.reason if isinstance(command, NoMpi) and job_mode != "serial" else ""
        return Shown(found, seconds, time, job_mode, serial, [], why_no_mpi=why)
    job = job_pb2.Job(args="COMMAND", attempt=1, num_nodes=len(found), ranks_per_node=_RANKS)
    return Shown(found, seconds, time, job_mode, serial, _words(job, around), command.name)


def _words(job: job_pb2.Job, around: Surroundings) -> list[str]:
    need = need_of_job(job, around.job_mode)
    assert need is not None
    leased = LeasedJob(1, lease_pb2.Lease(handle=1, token=1), job, None, "", need)
    pool = Pool(around.nodes)
    pool.add(leased)
    for placed in pool.startable():
        return list(make_start(placed, around).argv)
    raise AssertionError("a job of all nodes fits on all nodes")
