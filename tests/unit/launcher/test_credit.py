"""What a launcher says that it could take on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balsam.v1 import job_pb2, lease_pb2
from balsam_launcher.credit import CreditTerms, Standing
from balsam_launcher.leased import LeasedJob
from balsam_launcher.needs import Need
from balsam_launcher.nodes import Node
from balsam_launcher.pool import Pool

IDLE = Standing(takes=True, closing=False, ahead=0.0, minutes=None)


def pool_of(nodes: int) -> Pool:
    return Pool([Node(f"n{number}", cores=4) for number in range(nodes)])


def test_an_idle_launcher_takes_what_fits_and_a_little_more() -> None:
    credit = CreditTerms(pool_of(3), "auto").credit(replace(IDLE, ahead=0.5, minutes=7, quick_applications=["a"]))
    assert (credit.nodes, credit.largest, credit.minutes, credit.closed_nodes) == (3.5, 3, 7, 0)
    assert [(kind.count, kind.cores) for kind in credit.node_kinds] == [(3, 4)]
    assert (list(credit.quick_applications), credit.serial_only, credit.closing) == (["a"], False, False)


def test_what_it_holds_counts_against_that() -> None:
    pool = pool_of(3)
    pool.add(LeasedJob(1, lease_pb2.Lease(handle=1), job_pb2.Job(), None, "", Need(2, 1.0, True)))
    credit = CreditTerms(pool, "auto").credit(IDLE)
    assert (credit.nodes, credit.jobs) == (1.0, 9_999)


@pytest.mark.parametrize(("mode", "nodes", "jobs"), [("mpi", 2.5, 2), ("serial", 2.5, 10_000)])
def test_in_the_mode_mpi_a_job_takes_a_node_at_least(mode: str, nodes: float, jobs: int) -> None:
    credit = CreditTerms(pool_of(2), mode).credit(replace(IDLE, ahead=0.5))
    assert (credit.nodes, credit.jobs, credit.serial_only) == (nodes, jobs, mode == "serial")


@pytest.mark.parametrize("now", [replace(IDLE, closing=True), replace(IDLE, takes=False)])
def test_who_can_start_nothing_takes_nothing(now: Standing) -> None:
    credit = CreditTerms(pool_of(2), "auto").credit(now)
    assert (credit.nodes, credit.jobs, credit.closing) == (0.0, 0, now.closing)


def test_closed_nodes_count_for_the_jobs_that_they_are_closed_for() -> None:
    pool = pool_of(2)
    pool.placement.close(0, serial=True, mpi=False)
    assert CreditTerms(pool, "serial").credit(IDLE).nodes == 1.0
    assert CreditTerms(pool, "auto").credit(IDLE).closed_nodes == 0
    pool.placement.close(0)
    pool.placement.close(1)
    credit = CreditTerms(pool, "auto").credit(replace(IDLE, ahead=1.0))
    assert (credit.nodes, credit.closed_nodes) == (0.0, 2)
    assert credit.largest == 2, "they may be back: a job of both is not hopeless"
