"""What more a launcher could take on, as it tells the job store. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from balsam.v1 import session_service_pb2
from balsam.work import Credit
from balsam_launcher.pool import Pool

_MOST_NODE_KINDS = 16  # as many as count
_MOST_JOBS = 10_000  # held at once, and on many nodes more:
_MOST_JOBS_A_NODE = 256


@dataclass(frozen=True, slots=True)
class Standing:
    """How a launcher stands.

    Attributes:
        takes: it can have runs started.
        closing: it takes nothing more, for good.
        ahead: what to hold beyond what fits now, in nodes.
        minutes: whole minutes until its time limit; None: there is none.
        quick_applications: those whose runs end in that time, whatever their jobs say.
    """

    takes: bool
    closing: bool
    ahead: float
    minutes: int | None
    quick_applications: Sequence[str] = ()


class CreditTerms:
    """Says what more fits.

    Args:
        pool: the jobs of the launcher over its nodes.
        job_mode: its mode.
    """

    def __init__(self, pool: Pool, job_mode: str) -> None:
        self._pool = pool
        self._job_mode = job_mode
        self._node_kinds = [
            session_service_pb2.WorkRequest.NodeKind(count=count, cores=cores, gpus=gpus)
            for count, cores, gpus in pool.placement.kinds(_MOST_NODE_KINDS)
        ]

    def credit(self, now: Standing) -> Credit:
        """The credit of a launcher that stands so."""
        placement = self._pool.placement
        serial, mpi = placement.open_count(mpi=False), placement.open_count(mpi=True)
        usable = serial if self._job_mode == "serial" else max(serial, mpi)
        closed = placement.size - usable
        if now.closing or not now.takes:
            return Credit(node_kinds=self._node_kinds, closing=now.closing, closed_nodes=closed)
        nodes = max(0.0, usable + now.ahead - self._pool.held_nodes) if usable else 0.0
        jobs = max(_MOST_JOBS, _MOST_JOBS_A_NODE * usable) - len(self._pool)
        return Credit(
            nodes=nodes,
            # The job store counts a share for a serial job: in the mode mpi it takes a node.
            jobs=int(nodes) if self._job_mode == "mpi" else jobs,
            # Where all nodes are out of reach they may be back: that is no reason to have nothing more to do.
            largest=mpi or placement.size,
            minutes=now.minutes,
            serial_only=self._job_mode == "serial",
            node_kinds=self._node_kinds,
            closed_nodes=closed,
            quick_applications=now.quick_applications,
        )
