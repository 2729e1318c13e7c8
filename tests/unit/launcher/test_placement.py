"""Which nodes a job gets, and which cores and GPUs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balsam_launcher.nodes import Node
from balsam_launcher.placement import Need, Placement, Seats, need_of
from balsam_launcher.seats import Room, Seat, gpus_of_ranks


def nodes(count: int, cores: int = 4, gpus: int = 0) -> list[Node]:
    return [Node(f"n{number}", cores, 1, tuple(map(str, range(gpus)))) for number in range(count)]


def serial(packing: int = 64, cores: int = 0, gpus_per_rank: float = 0.0) -> Need:
    need = need_of(1, 1, packing, "auto", cores_per_rank=cores, gpus_per_rank=gpus_per_rank)
    assert need is not None
    return need


def mpi(nodes: int, ranks: int = 2, gpus_per_rank: float = 0.0) -> Need:
    need = need_of(nodes, ranks, 1, "auto", gpus_per_rank=gpus_per_rank)
    assert need is not None
    return need


def placed(placement: Placement, need: Need) -> tuple[int, ...] | None:
    """Numbers of the nodes that a job gets."""
    seats = placement.place(need)
    return seats.nodes if seats is not None else None


# Needs


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


@pytest.mark.parametrize(
    ("ranks", "gpus_per_rank", "expected"),
    [(1, 0, 0), (4, 1, 4), (4, 2, 8), (4, 0.5, 2), (5, 0.5, 3), (4, 0.3, 2), (1, 0.1, 1), (2, 1.5, 4), (3, 0.7, 3)],
)
def test_gpus_of_the_ranks_on_a_node(ranks: int, gpus_per_rank: float, expected: int) -> None:
    assert gpus_of_ranks(ranks, gpus_per_rank) == expected


# Shares


def test_shares_fill_a_node_exactly() -> None:
    for packing in (1, 2, 3, 7, 49, 64, 1000):
        placement = Placement(nodes(1))
        assert [placed(placement, serial(packing)) for _ in range(packing)] == [(0,)] * packing
        assert placement.place(serial(packing)) is None
        assert placement.place(serial(10**6)) is None


def test_an_agent_that_keeps_the_books_of_one_node_goes_by_the_same_rule() -> None:
    for packing in (1, 2, 3, 7, 49, 64, 1000):
        room = Room()
        for _ in range(packing):
            assert room.has(1 / packing)
            room.take(1 / packing)
        assert not room.has(1 / packing)
        assert not room.has(1e-6)


def test_different_shares_mix() -> None:
    placement = Placement(nodes(1))
    assert [placed(placement, serial(n)) for n in (2, 4, 8, 8)] == [(0,)] * 4
    assert placement.place(serial(8)) is None


def test_small_jobs_leave_whole_nodes_free() -> None:
    placement = Placement(nodes(3))
    assert [placed(placement, serial(4)) for _ in range(4)] == [(0,)] * 4
    assert placed(placement, mpi(2)) == (1, 2)
    assert placement.place(serial(4)) is None


def test_the_fullest_node_that_has_room_comes_first() -> None:
    placement = Placement(nodes(2))
    first = placement.place(serial(2))
    assert first is not None
    for packing in (2, 4, 4):
        assert placement.place(serial(packing)) is not None
    placement.free(first)  # both are half full now, but for this
    assert placed(placement, serial(4)) == (0,)
    assert placed(placement, serial(2)) == (1,)


def test_no_room_takes_nothing() -> None:
    placement = Placement(nodes(2))
    placement.place(serial(2))
    assert placement.place(mpi(2)) is None
    assert placement.used == 0.5


def test_nothing_is_given_back_twice() -> None:
    placement, room = Placement(nodes(1)), Room()
    seats = placement.place(serial(2))
    assert seats is not None
    placement.free(seats)
    with pytest.raises(AssertionError, match="more is given back"):
        placement.free(seats)
    with pytest.raises(AssertionError, match="more is given back"):
        room.give_back(0.5)


# Cores and GPUs


def test_bound_jobs_have_cores_of_their_own() -> None:
    placement = Placement(nodes(1, cores=4))
    first, second = placement.place(serial(cores=2)), placement.place(serial(cores=2))
    assert first is not None
    assert second is not None
    assert (first.seats, second.seats) == ((Seat(0, (0, 1)),), (Seat(0, (2, 3)),))
    assert placement.place(serial(cores=1)) is None
    assert placed(placement, serial()) == (0,)  # it is bound to nothing
    placement.free(first)
    assert placement.place(serial(cores=2)) == Seats(serial(cores=2), (Seat(0, (0, 1)),))


def test_two_share_a_gpu_never_three_and_never_with_one_that_has_it_whole() -> None:
    placement = Placement(nodes(1, gpus=2))
    half = serial(gpus_per_rank=0.5)
    seats = [placement.place(need) for need in (half, half, serial(gpus_per_rank=1))]
    assert [one and one.seats[0].gpus for one in seats] == [(0,), (0,), (1,)]
    assert placement.place(half) is None
    assert seats[2] is not None
    placement.free(seats[2])
    assert placement.place(half) is not None
    assert placement.place(serial(gpus_per_rank=1)) is None


def test_fractions_of_different_sizes_mix() -> None:
    placement = Placement(nodes(1, gpus=1))
    for gpus_per_rank in (0.5, 0.25, 0.25):
        assert placement.place(serial(gpus_per_rank=gpus_per_rank)) is not None
    assert placement.place(serial(gpus_per_rank=0.1)) is None


def test_a_begun_gpu_is_used_before_a_free_one() -> None:
    placement = Placement(nodes(2, gpus=2))
    third = serial(gpus_per_rank=0.3)
    assert [placement.place(third).seats[0] for _ in range(4)] == [  # type: ignore[union-attr]
        Seat(0, (), (0,)), Seat(0, (), (0,)), Seat(0, (), (0,)), Seat(0, (), (1,)),
    ]  # fmt: skip


def test_an_mpi_job_has_the_gpus_of_its_ranks_on_each_node() -> None:
    placement = Placement(nodes(3, gpus=4))
    seats = placement.place(mpi(2, ranks=4, gpus_per_rank=0.5))
    assert seats is not None
    assert seats.seats == (Seat(0, (), (0, 1)), Seat(1, (), (0, 1)))
    assert placement.place(serial(gpus_per_rank=1)) == Seats(serial(gpus_per_rank=1), (Seat(2, (), (0,)),))


def test_nodes_that_lack_something_are_passed_over() -> None:
    placement = Placement([Node("cpu", 4), Node("gpu", 2, 1, ("0",))])
    assert placed(placement, serial(gpus_per_rank=1)) == (1,)
    assert placed(placement, serial(cores=3)) == (0,)
    assert placement.place(mpi(1, gpus_per_rank=0.5)) is None  # the one with a GPU is in use


def test_what_never_fits_is_told_apart_from_what_has_to_wait() -> None:
    placement = Placement([Node("a", 4), Node("b", 4), Node("c", 2, 1, ("0",))])
    assert placement.place(mpi(3)) is not None
    waiting = (mpi(3), serial(), serial(cores=4), serial(gpus_per_rank=1), mpi(1, ranks=2, gpus_per_rank=0.5))
    assert [placement.place(need) for need in waiting] == [None] * 5
    assert all(placement.could_hold(need) for need in waiting)
    never = (mpi(4), serial(cores=5), serial(gpus_per_rank=2), mpi(2, gpus_per_rank=0.1))
    assert not any(placement.could_hold(need) for need in never)


def test_nodes_that_are_alike_are_told_together() -> None:
    placement = Placement([*nodes(3, cores=4), *nodes(2, cores=8, gpus=2), *nodes(1, cores=6, gpus=1)])
    assert placement.kinds(3) == [(3, 4, 0), (2, 8, 2), (1, 6, 1)]
    assert placement.kinds(2) == [(3, 4, 0), (3, 6, 1)]  # so many have this at least


# Open and closed nodes


def test_closed_nodes_get_nothing_more_and_keep_what_they_have() -> None:
    placement = Placement(nodes(2))
    seats = placement.place(serial(2))
    assert seats is not None
    placement.close(0)
    assert placed(placement, serial(2)) == (1,)
    placement.free(seats)
    assert placement.place(mpi(1)) is None
    assert (placement.used, placement.could_hold(mpi(2))) == (0.5, True)
    placement.open(0)
    assert placed(placement, mpi(1)) == (0,)


def test_nodes_may_be_closed_for_one_kind_only() -> None:
    placement = Placement(nodes(3))
    placement.close(0, mpi=False)
    placement.close(1, serial=False)
    assert [placement.open_count(mpi=kind) for kind in (True, False)] == [2, 2]
    assert placed(placement, serial(1)) == (1,)
    assert placed(placement, mpi(2)) == (0, 2)
    assert placement.place(serial()) is None
    placement.open(0, serial=True, mpi=False)
    placement.close(0, serial=False)
    assert [placement.is_open(0, mpi=kind) for kind in (True, False)] == [False, True]


def test_closing_and_opening_twice_changes_nothing() -> None:
    placement = Placement(nodes(2))
    for _ in range(2):
        placement.close(1)
    assert placed(placement, mpi(1)) == (0,)
    for _ in range(2):
        placement.open(1)
    assert placed(placement, serial(1)) == (1,)


# Any sequence, against a model that looks at everything


@dataclass
class Model:
    """The same in the plainest way: what each run has."""

    nodes: list[Node]
    live: list[Seats] = field(default_factory=list)
    closed_serial: set[int] = field(default_factory=set)
    closed_mpi: set[int] = field(default_factory=set)

    def share(self, node: int) -> float:
        return sum(seats.need.share for seats in self.live if node in seats.nodes)

    def bound(self, node: int) -> list[int]:
        return [core for seats in self.live for seat in seats.seats if seat.node == node for core in seat.cores]

    def of_gpu(self, node: int, gpu: int) -> float:
        """How much of a GPU is taken, 1 at most."""
        return sum(
            1.0 if seats.need.mpi else min(1.0, seats.need.gpus)
            for seats in self.live
            for seat in seats.seats
            if seat.node == node and gpu in seat.gpus
        )

    def fits(self, need: Need) -> set[int]:
        """The nodes on which there is room for it."""
        return {node for node in range(len(self.nodes)) if self._fits(node, need)}

    def _fits(self, node: int, need: Need) -> bool:
        if node in (self.closed_mpi if need.mpi else self.closed_serial):
            return False
        free_cores = self.nodes[node].cores - len(self.bound(node))
        taken = [self.of_gpu(node, gpu) for gpu in range(len(self.nodes[node].gpus))]
        enough = taken.count(0.0) >= math.ceil(need.gpus) or (
            need.gpus < 1 and any(used + need.gpus <= 1 + 1e-9 for used in taken)
        )
        return self.share(node) + need.share <= 1 + 1e-9 and free_cores >= need.cores and enough

    def check(self) -> None:
        """No node is overfull, no core and no GPU is given twice."""
        for number, node in enumerate(self.nodes):
            assert self.share(number) <= 1 + 1e-9
            bound = self.bound(number)
            assert len(set(bound)) == len(bound)
            assert set(bound) <= set(range(node.cores))
            assert all(self.of_gpu(number, gpu) <= 1 + 1e-9 for gpu in range(len(node.gpus)))
            assert {gpu for one in self.live for seat in one.seats if seat.node == number for gpu in seat.gpus} <= set(
                range(len(node.gpus))
            )


some_nodes = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=5)
serials = st.builds(serial, st.sampled_from([1, 2, 3, 7, 64]), st.integers(0, 3), st.sampled_from([0, 0.3, 0.5, 1, 2]))
mpis = st.builds(mpi, st.integers(1, 3), st.integers(2, 4), st.sampled_from([0, 0.5, 1]))
steps = st.one_of(
    st.tuples(st.just("place"), st.one_of(serials, mpis)),
    st.tuples(st.just("free"), st.integers(0, 100)),
    st.tuples(st.sampled_from(["close", "open"]), st.tuples(st.integers(0, 4), st.booleans(), st.booleans())),
)


@settings(max_examples=150, deadline=None)
@given(some_nodes, st.lists(steps, max_size=40))
def test_no_core_and_no_gpu_is_given_twice_and_what_fits_is_placed(
    shapes: list[tuple[int, int]], todo: list[tuple[str, object]]
) -> None:
    there = [Node(f"n{n}", cores, 1, tuple(map(str, range(gpus)))) for n, (cores, gpus) in enumerate(shapes)]
    placement, model = Placement(there), Model(there)
    for what, value in todo:
        if what == "place":
            assert isinstance(value, Need)
            _place(placement, model, value)
        elif what == "free" and model.live:
            assert isinstance(value, int)
            placement.free(model.live.pop(value % len(model.live)))
        elif what in ("close", "open"):
            _close_or_open(placement, model, what, value)
        model.check()
        assert placement.used == pytest.approx(sum(map(model.share, range(len(there)))), abs=1e-9)
    for seats in model.live:
        placement.free(seats)
    assert placement.used == 0


def _place(placement: Placement, model: Model, need: Need) -> None:
    fitting = model.fits(need)
    seats = placement.place(need)
    if len(fitting) < need.nodes:
        assert seats is None
        return
    assert seats is not None
    assert set(seats.nodes) <= fitting
    assert len(set(seats.nodes)) == need.nodes
    if not need.mpi:
        assert model.share(seats.nodes[0]) == pytest.approx(max(map(model.share, fitting)))
        assert len(seats.seats[0].gpus) == math.ceil(need.gpus)
    assert len(seats.seats[0].cores) == (0 if need.mpi else need.cores)
    assert placement.could_hold(need)
    model.live.append(seats)


def _close_or_open(placement: Placement, model: Model, what: str, value: object) -> None:
    assert isinstance(value, tuple)
    node, serial, mpi = value[0] % placement.size, value[1], value[2]
    if what == "close":
        placement.close(node, serial=serial, mpi=mpi)
    else:
        placement.open(node, serial=serial, mpi=mpi)
    for wanted, closed in ((serial, model.closed_serial), (mpi, model.closed_mpi)):
        if wanted and what == "close":
            closed.add(node)
        elif wanted:
            closed.discard(node)


def test_thousands_of_nodes_cost_no_more_than_few() -> None:
    """Counted in looks at single nodes: none but those that are given."""
    looked: list[int] = []

    class Watched(list[int]):
        def __getitem__(self, index: object) -> object:  # type: ignore[override]
            looked.append(index)  # type: ignore[arg-type]
            return super().__getitem__(index)  # type: ignore[index]

    placement = Placement(nodes(4096, gpus=1))
    placement._used = Watched(placement._used)
    seats = [placement.place(serial(64)) for _ in range(1000)]
    seats += [placement.place(serial(2, gpus_per_rank=0.5)) for _ in range(10)]
    for one in seats[::2]:
        assert one is not None
        placement.free(one)
    assert len(looked) <= 2 * len(seats)
