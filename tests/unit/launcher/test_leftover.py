"""Why a launcher leaves a job undone."""

from __future__ import annotations

from typing import Any

import pytest

from balsam.v1 import job_pb2
from balsam_launcher.leftover import Limits, undone, why

DEPTH = job_pb2.Job.DEPTH


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"num_nodes": 4}, "needs 4 nodes, and this launcher has 3"),
        ({"wall_time_minutes": 11}, "may take 11 minutes, and 10 are left"),
        (
            {"gpus_per_rank": 3},
            "needs 3 GPUs (gpus_per_rank = 3) on a node, and no node of this launcher has more than 2 GPUs",
        ),
        (
            {"gpus_per_rank": 0.5, "ranks_per_node": 3, "num_nodes": 2},
            "needs 2 GPUs (gpus_per_rank = 0.5) on each of 2 nodes, and this launcher has 1 such node",
        ),
        (
            {"cpu_affinity": DEPTH, "threads_per_rank": 5, "ranks_per_node": 2},
            "needs 10 cores to be bound to (cpu_affinity = depth) on a node, "
            "and no node of this launcher has more than 8 cores",
        ),
    ],
)
def test_the_reason_names_the_values(fields: dict[str, Any], reason: str) -> None:
    job = job_pb2.Job(name="run", job_id="12345678-9", **fields)
    limits = Limits(3, 10, False, [(8, 0), (8, 0), (4, 2)])
    assert why(job, limits) == f"run (12345678) {reason}"
    assert undone(job, limits) == f"that this launcher cannot run: run (12345678) {reason}"


@pytest.mark.parametrize(
    ("stopped_by", "said"),
    [
        ("", "that came at the last moment: run (12345678) became runnable just now"),
        ("SIGTERM", "since this launcher was stopped: SIGTERM"),
    ],
)
def test_what_it_could_run_it_leaves_because_it_was_stopped_or_because_that_came_late(
    stopped_by: str, said: str
) -> None:
    job = job_pb2.Job(name="run", job_id="12345678-9", gpus_per_rank=2)
    assert why(job, Limits(1, 10, False, [(4, 2)], stopped_by)) == ""
    assert undone(job, Limits(1, 10, False, [(4, 2)], stopped_by)) == said


def test_a_launcher_without_gpus_says_how_it_gets_some() -> None:
    job = job_pb2.Job(name="run", job_id="12345678-9", gpus_per_rank=1)
    assert why(job, Limits(1, None, False, [(8, 0)])).endswith("this launcher has no GPUs (see --gpus-per-node)")


def test_a_serial_launcher_leaves_mpi_jobs() -> None:
    job = job_pb2.Job(name="run", job_id="12345678-9", ranks_per_node=2)
    assert "runs serial jobs only" in why(job, Limits(1, None, True))
