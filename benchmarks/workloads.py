"""All workloads, in the order in which they run."""

from __future__ import annotations

from benchmarks import (
    allocations,
    clients,
    commands,
    events,
    graphs,
    idle,
    insertion,
    kills,
    latency,
    mpi_runs,
    queries,
    scale,
    throughput,
    tls,
)
from benchmarks.figures import Workload

WORKLOADS: tuple[Workload, ...] = (
    throughput.WORKLOAD,
    insertion.WORKLOAD,
    latency.WORKLOAD,
    graphs.WORKLOAD,
    clients.WORKLOAD,
    commands.WORKLOAD,
    scale.WORKLOAD,
    idle.WORKLOAD,
    kills.WORKLOAD,
    events.WORKLOAD,
    mpi_runs.WORKLOAD,
    allocations.WORKLOAD,
    tls.WORKLOAD,
    queries.WORKLOAD,
)


def find(key: str) -> Workload:
    """The workload with this key. Raises ValueError."""
    for workload in WORKLOADS:
        if workload.key == key.lower():
            return workload
    raise ValueError(f"there is no workload {key!r}; there are {', '.join(workload.key for workload in WORKLOADS)}")
