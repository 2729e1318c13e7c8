"""A job that this launcher holds, from its grant to its report."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from balsam.v1 import job_pb2, lease_pb2
from balsam_launcher.needs import Need, need_of
from balsam_launcher.placement import Seats
from balsam_launcher.run_commands import cores_per_rank


class Ending(enum.Enum):
    """Why a run is being stopped, which decides what is reported of it."""

    KILLED = "killed"
    """The job store said so: somebody has moved the job already."""
    TIMED_OUT = "timed out"
    """The launcher's time, or a request to stop it: RUN_TIMEOUT."""
    LOST = "lost"
    """Something broke under it: given back as lost."""
    NODE_LOST = "node lost"
    """A node of its MPI run was lost: given back as lost, however it ends, and no restart is used up."""
    REVOKED = "revoked"
    """The lease is not ours any more: nothing is reported."""


@dataclass(slots=True, eq=False)
class LeasedJob:
    """A job under lease.

    Attributes:
        run_id: number of the run, unique in this launcher.
        job: what the job store told of it.
        program: its application, if it has one.
        token: credential of the run.
        need: what it takes.
    """

    run_id: int
    lease: lease_pb2.Lease
    job: job_pb2.Job
    program: lease_pb2.Program | None
    token: str
    need: Need
    nodes: tuple[int, ...] = ()
    """Where it runs; empty: it waits."""
    node: str = ""
    """Name of the first of these, or of the one that was lost; empty: it was never there."""
    seats: Seats | None = None
    """What it has there; None: it waits, here or at an agent."""
    agent: int = -1
    """Whose it is to start it; see `fleet`."""
    lasts: bool = False
    """It is known to have run for longer than what fails at once."""
    announced: bool = False
    """RUNNING has been reported."""
    pid: int = 0
    start_us: int = 0
    ending: Ending | None = None
    reason: str = ""
    """For people, why it is being stopped."""
    after: LeasedJob | None = None
    """An earlier run of the same job here, which must be gone before this one starts."""

    @property
    def minutes(self) -> int:
        """Its expected length [minutes]."""
        return self.job.wall_time_minutes if self.job.HasField("wall_time_minutes") else 1


def need_of_job(job: job_pb2.Job, job_mode: str) -> Need | None:
    """The need of a job under a launcher's mode; None: it cannot run there."""
    binds = job.cpu_affinity == job_pb2.Job.DEPTH
    return need_of(
        job.num_nodes,
        job.ranks_per_node,
        job.node_packing_count,
        job_mode,
        cores_per_rank=cores_per_rank(job.threads_per_rank or 1, job.threads_per_core or 1) if binds else 0,
        gpus_per_rank=job.gpus_per_rank,
    )
