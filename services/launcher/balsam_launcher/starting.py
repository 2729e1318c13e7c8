"""What starts node agents on the other nodes of an allocation, and where those find the launcher."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from balsam.commands import find_executable
from balsam.errors import ValidationError
from balsam_launcher.ensemble import VARIABLES
from balsam_launcher.mpi import Mpi, NoMpi
from balsam_launcher.nodes import Node
from balsam_launcher.run_commands import MpiRun

MEMBER = (sys.executable, "-P", "-m", "balsam_launcher.member")
"""What is run on each node."""

_GOES_ON = {"mpich": ("-disable-auto-cleanup",)}
"""Flags with which a run command does not end all ranks with the first that is lost, where there are such."""

_ALLOCATIONS = ("SLURM_JOB_ID", "PBS_JOBID", "COBALT_JOBID", "LSB_JOBID", "FLUX_JOB_ID")
_SOME_PORT = 9


@dataclass(frozen=True)
class Starter:
    """How agents are started on some nodes.

    Attributes:
        command: from their names to the command line.
        address: of this host, as they reach it.
    """

    command: Callable[[Sequence[str]], Sequence[str]]
    address: str


def in_allocation(environ: Mapping[str, str]) -> bool:
    """Whether a batch system has started us, and may end us."""
    return any(name in environ for name in _ALLOCATIONS)


def starter(
    nodes: Sequence[Node], mpi: Mpi | NoMpi, environ: Mapping[str, str], address: str, job_mode: str
) -> Starter | None:
    """What starts agents on a launcher's nodes; None: it needs none but that of this host.

    Args:
        nodes: its nodes.
        mpi: its MPI run command, used where there is no Slurm.
        environ: the environment.
        address: the setting `launcher_address`; empty: to be found.
        job_mode: its mode.

    Raises:
        ValidationError: there are other nodes, and nothing that starts processes there.
    """
    if job_mode == "mpi" or (len(nodes) == 1 and nodes[0].local):
        return None
    srun = find_executable("srun", environ.get("PATH", "")) if "SLURM_JOB_ID" in environ else None
    if srun is None and isinstance(mpi, NoMpi):
        raise ValidationError(f"nothing starts processes on {nodes[-1].name} and the other nodes: {mpi.reason}")
    command = functools.partial(ensemble_command, mpi=mpi if isinstance(mpi, Mpi) else None, srun=srun)
    others = [node.name for node in nodes if not node.local]
    return Starter(command, address or own_address(others))


def own_address(others: Sequence[str]) -> str:
    """The address by which this host reaches the first of the other nodes whose name resolves, else its own name's."""
    for name in others[:4]:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
            trial.connect((name, _SOME_PORT))  # sends nothing
            return str(trial.getsockname()[0])
    with contextlib.suppress(OSError):
        return str(ipaddress.ip_address(socket.gethostbyname(socket.gethostname())))
    return "127.0.0.1"


def ensemble_command(nodes: Sequence[str], mpi: Mpi | None, srun: str | None) -> list[str]:
    """The command line that starts one agent on each of some nodes. Pure.

    Sources: srun(1) of Slurm 22.05, mpiexec(1) of MPICH's Hydra 4.2, and those named in `run_commands`.

    Args:
        nodes: their names.
        mpi: the MPI run command, used where there is no Slurm.
        srun: path of Slurm's own, if this is an allocation of it.
    """
    if srun is not None:
        return [srun, *_srun(nodes), *MEMBER]
    assert mpi is not None
    flags = _GOES_ON.get(mpi.name, ())
    run = MpiRun(node_count=len(nodes), ranks_per_node=1, nodes=tuple(nodes), flags=flags, variables=VARIABLES)
    return mpi.command(run, MEMBER)


def _srun(nodes: Sequence[str]) -> list[str]:
    # --overlap: MPI runs of jobs are steps beside it. Losing one node or task does not end the others.
    apart = ["--overlap", "--no-kill", "--kill-on-bad-exit=0", "--wait=0", "--mpi=none", "--cpu-bind=none"]
    count = f"{len(nodes)}"
    shape = ["--unbuffered", "--nodes", count, "--ntasks", count, "--ntasks-per-node", "1"]
    return [*apart, *shape, "--nodelist", ",".join(nodes)]
