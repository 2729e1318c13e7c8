"""Which nodes a job gets."""

from __future__ import annotations

import random

import pytest

from balsam_launcher.placement import Need, Placement, need_of


def serial(packing: int) -> Need:
    return Need(1, 1 / packing, mpi=False)


def mpi(nodes: int) -> Need:
    return Need(nodes, 1.0, mpi=True)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("auto", Need(1, 0.25, mpi=False)), ("serial", Need(1, 0.25, mpi=False)), ("mpi", Need(1, 1.0, mpi=True))],
)
def test_a_serial_job_takes_a_share_except_in_mpi_mode(mode: str, expected: Need) -> None:
    assert need_of(1, 1, 4, mode) == expected


def test_an_mpi_job_takes_whole_nodes() -> None:
    assert need_of(2, 8, 4, "auto") == Need(2, 1.0, mpi=True)
    assert need_of(1, 2, 1, "auto") == Need(1, 1.0, mpi=True)


def test_serial_mode_takes_no_mpi_job() -> None:
    assert need_of(1, 2, 1, "serial") is None


def test_absent_fields_count_as_one() -> None:
    assert need_of(0, 0, 0, "auto") == Need(1, 1.0, mpi=False)


def test_shares_fill_a_node_exactly() -> None:
    for packing in (1, 2, 3, 7, 49, 64, 1000):
        placement = Placement(1)
        placed = [placement.place(serial(packing)) for _ in range(packing)]
        assert placed == [(0,)] * packing
        assert placement.place(serial(packing)) is None
        assert placement.place(serial(10**6)) is None


def test_different_shares_mix() -> None:
    placement = Placement(1)
    assert [placement.place(serial(n)) for n in (2, 4, 8, 8)] == [(0,)] * 4
    assert placement.place(serial(8)) is None


def test_small_jobs_leave_whole_nodes_free() -> None:
    placement = Placement(3)
    assert [placement.place(serial(4)) for _ in range(4)] == [(0,)] * 4
    assert placement.place(mpi(2)) == (1, 2)
    assert placement.place(serial(4)) is None


def test_no_room_takes_nothing() -> None:
    placement = Placement(2)
    placement.place(serial(2))
    assert placement.place(mpi(2)) is None
    assert placement.used == 0.5


def test_nothing_is_given_back_twice() -> None:
    placement = Placement(1)
    nodes = placement.place(serial(2))
    assert nodes is not None
    placement.free(nodes, serial(2))
    with pytest.raises(AssertionError, match="more is given back"):
        placement.free(nodes, serial(2))


def test_a_node_is_never_overfull_and_returns_to_zero() -> None:
    chance = random.Random(7)
    placement, live = Placement(4), []
    for _ in range(5000):
        if live and chance.random() < 0.5:
            placement.free(*live.pop(chance.randrange(len(live))))
        else:
            need = mpi(chance.randint(1, 4)) if chance.random() < 0.2 else serial(chance.choice([1, 2, 3, 7, 10, 64]))
            nodes = placement.place(need)
            if nodes is not None:
                assert len(set(nodes)) == need.nodes
                live.append((nodes, need))
        for node in range(4):
            assert sum(need.share for nodes, need in live if node in nodes) <= 1 + 1e-6
    for nodes, need in live:
        placement.free(nodes, need)
    assert placement.used == 0
