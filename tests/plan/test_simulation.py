"""Jobs through launches in thought, without I/O."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam_cli.plan.simulation import MOST_LAUNCHES, Launches, Order, Outcome, simulate
from balsam_cli.plan.work import Kind, Task, Work, kind_of, work_of


def kind(**fields: Any) -> Kind:
    return kind_of(fields)


def run(work: Work, seconds: float | Sequence[float], launches: Launches, **more: Any) -> Outcome:
    """All kinds take so long."""
    lengths = [seconds] if isinstance(seconds, (int, float)) else list(seconds)
    return simulate(work, dict.fromkeys(work.kinds(), lengths), launches, **more)


SERIAL = kind()


def test_jobs_one_after_the_other_on_one_node() -> None:
    outcome = run(Work({SERIAL: 10}), 60, Launches(1))
    assert (outcome.seconds, outcome.launches, outcome.node_seconds, outcome.never) == (600, 1, 600, 0)
    assert outcome.busy_node_seconds == 600


@pytest.mark.parametrize(("per_node", "mode", "seconds"), [(1, "auto", 150), (4, "auto", 60), (4, "mpi", 150)])
def test_jobs_share_nodes(per_node: int, mode: str, seconds: float) -> None:
    outcome = run(Work({kind(node_packing_count=per_node): 10}), 30, Launches(2, job_mode=mode))
    assert outcome.seconds == seconds


def test_a_large_job_is_first_and_holds_up_the_small_ones() -> None:
    large, small = kind(num_nodes=4, ranks_per_node=2), SERIAL
    lengths = {large: [100.0], small: [10.0]}
    assert simulate(Work({large: 1, small: 5}), lengths, Launches(4)).seconds == 120
    assert simulate(Work({large: 1, small: 5}), lengths, Launches(5)).seconds == 100  # one after the other beside it
    urgent = kind(priority=1)
    outcome = simulate(Work({large: 1, urgent: 2}), {large: [100.0], urgent: [10.0]}, Launches(5))
    assert outcome.seconds == 110  # the urgent ones take two nodes first


def test_launches_follow_each_other_and_nothing_starts_that_does_not_fit() -> None:
    job = kind(wall_time_minutes=30)
    outcome = run(Work({job: 5}), 20 * 60, Launches(1, seconds=60 * 60, wait_seconds=600))
    # Two begin within each hour: at 0 and 20 minutes; at 40 less is left than the 30 that a job says.
    assert outcome.launches == 3
    assert outcome.seconds == 3 * 600 + 2 * 40 * 60 + 20 * 60
    assert outcome.node_seconds == 5 * 20 * 60


@pytest.mark.parametrize(
    ("fields", "launches"),
    [
        ({"num_nodes": 3}, Launches(2)),
        ({"wall_time_minutes": 61}, Launches(2, seconds=3600)),
        ({"ranks_per_node": 2}, Launches(2, job_mode="serial")),
    ],
)
def test_what_never_fits_is_counted(fields: dict[str, Any], launches: Launches) -> None:
    outcome = run(Work({kind(**fields): 7, SERIAL: 2}), 10, launches)
    assert (outcome.never, outcome.seconds) == (7, 10)


def job(job_id: str, *parents: str, state: str = "AWAITING_PARENTS", **fields: Any) -> dict[str, Any]:
    return {"job_id": job_id, "state": state, "parents": parents, **fields}


def work(*jobs: dict[str, Any], more: int = 0) -> Work:
    """What these jobs are, and so many that wait for nobody."""
    groups = Counter((one["state"], 0, 1, 1, 1, 1, "") for one in jobs)
    groups["CREATED", 0, 1, 1, 1, 1, ""] += more
    return work_of(groups.items(), jobs)


def test_a_chain_takes_its_length() -> None:
    chain = [job("0", state="PREPROCESSED"), *(job(str(n), str(n - 1)) for n in range(1, 20))]
    outcome = run(work(*chain), 5, Launches(8))
    assert (outcome.seconds, outcome.never) == (100, 0)
    assert outcome.node_seconds == 800


def test_children_of_what_runs_now_wait_for_it() -> None:
    todo = work(job("a", state="RUNNING"), job("b", "a"), more=3)
    assert todo.total == 5
    outcome = run(todo, 100, Launches(4), share_to_go=0.5)
    assert outcome.seconds == 150
    assert run(Work({}, {SERIAL: 3}), 100, Launches(4)).seconds == 50


def test_children_of_what_never_fits_never_run() -> None:
    todo = work(job("a", state="CREATED", num_nodes=9), job("b", "a"))
    assert run(todo, 10, Launches(4)).never == 2


def test_jobs_whose_parents_are_over_or_have_run_wait_for_nobody() -> None:
    todo = work(job("a", state="RUN_DONE"), job("b", "a", "gone"))
    assert run(todo, 10, Launches(1)).seconds == 10


def test_those_that_are_too_many_to_look_at_come_with_the_others_or_after_them() -> None:
    todo = work_of([(("CREATED", 0, 1, 1, 1, 1, ""), 2), (("AWAITING_PARENTS", 0, 1, 1, 1, 1, ""), 2)], None)
    assert run(todo, 10, Launches(4)).seconds == 10
    assert run(todo, 10, Launches(4), in_phases=True).seconds == 20


def test_a_million_jobs_take_a_moment_and_their_time() -> None:
    todo = Work({kind(node_packing_count=8): 1_000_000, kind(num_nodes=4): 100_000})
    begun = time.process_time()
    outcome = run(todo, [10, 20, 30, 40, 100], Launches(64, seconds=6 * 3600))
    assert time.process_time() - begun < 5  # half a second where nothing else runs
    least = (1_000_000 / 8 + 100_000 * 4) * 40 / 64
    assert least <= outcome.seconds <= 1.05 * least
    assert outcome.never == 0


def test_many_kinds_are_made_fewer() -> None:
    groups = [(("CREATED", 0, 1, minutes, 1, 1, ""), 3) for minutes in range(1, 5000)]
    todo = work_of(groups, [])
    assert len(todo.kinds()) <= 200
    assert todo.total == 3 * 4999


def test_it_ends_where_launches_are_far_too_short() -> None:
    outcome = run(Work({SERIAL: 10_000}), 60, Launches(1, seconds=60))
    assert (outcome.launches, outcome.is_cut) == (MOST_LAUNCHES, True)


@st.composite
def works(draw: st.DrawFn) -> Work:
    kinds = draw(
        st.lists(
            st.builds(
                lambda nodes, wall, packing, priority: kind(
                    num_nodes=nodes, wall_time_minutes=wall, node_packing_count=packing, priority=priority
                ),
                st.integers(1, 5),
                st.integers(0, 60),
                st.integers(1, 4),
                st.integers(-1, 1),
            ),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    tasks = [Task(draw(st.sampled_from(kinds)), "CREATED") for _ in range(draw(st.integers(0, 12)))]
    for place in range(1, len(tasks)):
        for parent in draw(st.sets(st.integers(0, place - 1), max_size=2)):
            tasks[parent].children.append(place)
            tasks[place].unmet += 1
            tasks[place].state = "AWAITING_PARENTS"
    return Work({one: draw(st.integers(0, 300)) for one in kinds}, {}, tasks)


@given(works(), st.sampled_from(Order), st.integers(1, 6), st.sampled_from([None, 1800.0, 7200.0]), st.data())
def test_no_time_is_lost_and_none_is_won(
    todo: Work, order: Order, nodes: int, seconds: float | None, data: st.DataObject
) -> None:
    lengths = {one: sorted(data.draw(st.lists(st.integers(0, 1500), min_size=5, max_size=5))) for one in todo.kinds()}
    launches = Launches(nodes, seconds)
    outcome = simulate(todo, lengths, launches, order=order)
    assert outcome.busy_node_seconds <= outcome.node_seconds + 1e-6
    assert outcome.seconds * nodes >= outcome.node_seconds - 1e-6
    fits = [one for one in todo.kinds() if one.nodes <= nodes and (seconds is None or one.wall_minutes * 60 <= seconds)]
    if len(fits) == len(todo.kinds()):
        assert outcome.never == 0 or outcome.is_cut
        least = sum(
            _strata(todo.ready[one], lengths[one]) * one.width("auto") for one in todo.kinds() if one in todo.ready
        )
        assert outcome.busy_node_seconds >= least - 1e-3
    assert outcome.never <= todo.total


def _strata(count: int, lengths: Sequence[float]) -> float:
    """The least time that so many jobs take whose lengths are equal shares of these."""
    share, rest = divmod(count, len(lengths))
    return share * sum(lengths) + rest * lengths[0]
