"""What a job needs of a launcher's nodes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from balsam_launcher.seats import gpu_share, gpus_of_ranks


@dataclass(frozen=True, slots=True)
class Need:
    """What a job needs.

    Attributes:
        nodes: how many nodes.
        share: what it takes of each of them, more than 0 and at most 1.
        mpi: started by the MPI run command, on whole nodes.
        cores: how many cores it is bound to on each node; 0: it is not bound.
        gpus: how many GPUs are assigned to it on each node; less than 1: a part of one, shared with others.
    """

    nodes: int
    share: float
    mpi: bool
    cores: int = 0
    gpus: float = 0.0

    @property
    def total(self) -> float:
        """In nodes, as credit is counted: a serial job is 1 / node_packing_count, an MPI job its nodes."""
        return self.nodes * self.share

    @property
    def own(self) -> bool:
        """It needs cores or GPUs of its own."""
        return self.cores > 0 or self.gpus > 0


def need_of(
    num_nodes: int,
    ranks_per_node: int,
    node_packing_count: int,
    job_mode: str,
    *,
    cores_per_rank: int = 0,
    gpus_per_rank: float = 0.0,
) -> Need | None:
    """The need of a job under a launcher's mode; None: it cannot run there. Absent fields (0) count as 1.

    Args:
        num_nodes: nodes of the run.
        ranks_per_node: ranks on each.
        node_packing_count: how many serial jobs share a node.
        job_mode: the launcher's: ``auto``, ``mpi`` or ``serial``.
        cores_per_rank: cores that each rank is bound to; 0: none.
        gpus_per_rank: GPUs of each rank, fractions share one.
    """
    nodes, ranks, packing = num_nodes or 1, ranks_per_node or 1, node_packing_count or 1
    if nodes == 1 and ranks == 1 and job_mode != "mpi":
        return Need(1, 1.0 / packing, False, cores_per_rank, gpu_share(gpus_per_rank))
    if job_mode == "serial":
        return None
    return Need(nodes, 1.0, True, ranks * cores_per_rank, float(gpus_of_ranks(ranks, gpus_per_rank)))
