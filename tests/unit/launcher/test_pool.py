"""Which of the jobs that are held may start."""

from __future__ import annotations

import itertools
from typing import Any

from balsam.v1 import job_pb2, lease_pb2
from balsam_launcher.leased import LeasedJob, need_of_job
from balsam_launcher.nodes import Node
from balsam_launcher.pool import Pool

numbers = itertools.count(1)


def job(*, nodes: int = 1, ranks: int = 1, packing: int = 1, handle: int = 0, **fields: Any) -> LeasedJob:
    number = next(numbers)
    message = job_pb2.Job(
        job_id=f"job-{number}", num_nodes=nodes, ranks_per_node=ranks, node_packing_count=packing, **fields
    )
    need = need_of_job(message, "auto")
    assert need is not None
    return LeasedJob(number, lease_pb2.Lease(handle=handle or number, token=number), message, None, "", need)


def pool_of(nodes: int, *jobs: LeasedJob) -> Pool:
    pool = Pool([Node(f"n{number}", 4, 1, ("0", "1")) for number in range(nodes)])
    for leased in jobs:
        pool.add(leased)
    return pool


def test_jobs_start_in_the_order_of_their_grants_as_long_as_they_fit() -> None:
    jobs = [job(packing=2) for _ in range(5)]
    pool = pool_of(2, *jobs)
    assert list(pool.startable()) == jobs[:4]
    assert list(pool.waiting) == jobs[4:]


def test_a_small_job_does_not_slip_past_one_that_waits_for_a_whole_node() -> None:
    small, large, later = job(packing=4), job(ranks=2), job(packing=4)
    pool = pool_of(1, small, large, later)
    assert list(pool.startable()) == [small]
    pool.remove(small)
    assert list(pool.startable()) == [large]


def test_the_next_ones_are_queued_at_the_agent_and_take_the_place_of_those_that_end() -> None:
    jobs = [job(packing=2) for _ in range(6)]
    pool = pool_of(1, *jobs)
    assert list(pool.startable(ahead=2)) == jobs[:4]
    assert (list(pool.running.values()), list(pool.queued.values())) == (jobs[:2], jobs[2:4])
    pool.remove(jobs[0])
    assert (list(pool.running.values()), list(pool.queued.values())) == (jobs[1:3], jobs[3:4])
    assert list(pool.startable(ahead=2)) == jobs[4:5]
    pool.remove(jobs[3])  # dropped before it was started
    assert pool.held_nodes == 2.0
    for leased in [*pool.handed_over, *pool.waiting]:
        pool.remove(leased)
    assert (pool.held_nodes, len(pool)) == (0, 0)


def test_what_is_queued_comes_before_what_would_fit() -> None:
    small, large, later = job(packing=4), job(ranks=2), job(packing=4)
    pool = pool_of(1, small, large, later)
    assert list(pool.startable(ahead=1)) == [small, large]
    assert list(pool.startable(ahead=1)) == []
    pool.remove(small)
    assert list(pool.running.values()) == [large]


def test_what_is_put_back_waits_before_all_others() -> None:
    jobs = [job(packing=1) for _ in range(4)]
    pool = pool_of(1, *jobs)
    list(pool.startable(ahead=2))
    for leased in reversed(list(pool.queued.values())):
        pool.put_back(leased)
    assert (list(pool.running.values()), list(pool.waiting)) == (jobs[:1], jobs[1:])
    assert pool.held_nodes == 4.0
    pool.remove(jobs[0])
    assert list(pool.startable()) == jobs[1:2]


def test_what_had_room_and_was_not_started_may_be_put_back_too() -> None:
    jobs = [job(packing=1) for _ in range(3)]
    pool = pool_of(1, *jobs)
    list(pool.startable(ahead=2))
    pool.remove(jobs[0])  # the agent had no trust any more, and started nothing in its place
    for leased in (jobs[2], jobs[1]):
        pool.put_back(leased)
    assert (pool.handed_over, list(pool.waiting)) == ([], jobs[1:])
    assert (pool.placement.used, pool.held_nodes) == (0.0, 2.0)
    assert list(pool.startable()) == jobs[1:2]
    assert pool.held_nodes == 2.0


def test_over_several_nodes_nothing_is_queued() -> None:
    jobs = [job(packing=1) for _ in range(3)]
    assert list(pool_of(2, *jobs).startable(ahead=5)) == jobs[:2]


def test_what_is_held_counts_running_and_waiting() -> None:
    pool = pool_of(1, job(packing=2), job(packing=4), job(ranks=2))
    assert pool.held_nodes == 1.75
    list(pool.startable())
    assert pool.held_nodes == 1.75
    for leased in [*pool.waiting, *pool.running.values()]:
        pool.remove(leased)
    assert (pool.held_nodes, len(pool)) == (0, 0)


def test_a_job_that_was_granted_anew_waits_for_its_earlier_run_to_be_gone() -> None:
    old = job(packing=2)
    pool = pool_of(1, old)
    list(pool.startable())
    new = job(packing=2, handle=old.lease.handle)
    new.after = old
    pool.add(new)
    assert list(pool.startable()) == []
    pool.remove(old)
    assert pool.find(old.lease.handle) is new
    assert list(pool.startable()) == [new]


def test_jobs_are_found_by_id() -> None:
    leased = job()
    pool = pool_of(1, leased)
    assert pool.by_id(leased.job.job_id) is leased
    assert pool.by_id("none") is None


def test_a_run_that_is_bound_or_has_gpus_is_not_queued_at_the_agent() -> None:
    for fields in ({"cpu_affinity": job_pb2.Job.DEPTH, "threads_per_rank": 3}, {"gpus_per_rank": 2.0}):
        jobs = [job(packing=4, **fields) for _ in range(2)]
        later = job(packing=4)
        pool = pool_of(1, *jobs, later)
        assert list(pool.startable(ahead=5)) == jobs[:1]  # the agent knows nothing of cores and GPUs
        assert list(pool.waiting) == [jobs[1], later]
        pool.remove(jobs[0])
        assert list(pool.startable(ahead=5)) == [jobs[1], later]
        assert pool.queued == {}


def test_a_job_has_its_cores_and_gpus_until_it_ends() -> None:
    first = job(packing=4, gpus_per_rank=1, cpu_affinity=job_pb2.Job.DEPTH, threads_per_rank=4, threads_per_core=2)
    pool = pool_of(1, first)
    list(pool.startable())
    assert first.seats is not None
    assert (first.seats.seats[0].cores, first.seats.seats[0].gpus) == ((0, 1), (0,))
    pool.put_back(first)
    assert (first.seats, pool.placement.used) == (None, 0.0)


def test_nothing_is_queued_at_the_agent_of_a_node_that_is_closed() -> None:
    jobs = [job(packing=2) for _ in range(2)]
    pool = pool_of(1, *jobs)
    pool.placement.close(0, mpi=False)
    assert list(pool.startable(ahead=5)) == []
    pool.placement.open(0)
    assert list(pool.startable(ahead=5)) == jobs


def test_any_of_many_waiting_jobs_may_go() -> None:
    jobs = [job() for _ in range(5)]
    pool = pool_of(1, *jobs)
    for leased in (jobs[2], jobs[4], jobs[0]):
        pool.remove(leased)
    assert list(pool.waiting) == [jobs[1], jobs[3]]
    assert (pool.held_nodes, len(pool)) == (2.0, 2)
