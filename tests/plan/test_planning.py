"""Estimates from lengths of runs, ranges, and options, without I/O."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from balsam.errors import ValidationError
from balsam.history import Move
from balsam.run_times import RunTimes, quantile, run_lengths
from balsam_cli.plan.estimates import Estimate, estimate, of_lengths
from balsam_cli.plan.options import parse_nodes, parse_wait
from balsam_cli.plan.planning import Asked, plan, usual_sizes
from balsam_cli.plan.view import notes
from balsam_cli.plan.work import Work, kind_of

NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)
JOB = kind_of({"application": "sim", "wall_time_minutes": 30})


def history(application: str, *seconds: float, nodes: int = 1) -> RunTimes:
    times = RunTimes()
    for one in seconds:
        times.add(application, nodes, one)
    return times


def test_lengths_of_the_runs_that_ended_well() -> None:
    def move(job: str, second: float, *states: str) -> Move:
        return Move(job, NOON + timedelta(seconds=second), states)

    moves = [
        move("a", 0, "CREATED", "READY"),
        move("a", 1, "RUNNING"),
        move("b", 1, "RUNNING"),
        move("a", 3, "RUN_TIMEOUT", "RESTART_READY"),
        move("b", 4, "RUN_ERROR", "FAILED"),
        move("a", 5, "RUNNING"),
        move("a", 12, "RUN_DONE"),
        move("c", 5, "RUN_DONE"),
        Move("a", NOON, deleted=True),
    ]
    assert run_lengths(moves) == {"a": 7.0}


def test_runs_of_as_many_nodes_count_where_there_are_enough_of_them() -> None:
    times = history("sim", 1, 2, 3, 4, 5)
    for _ in range(5):
        times.add("sim", 4, 60.0)
    assert times.lengths("sim", 4) == [60.0] * 5
    assert len(times.lengths("sim", 2)) == 10
    assert times.lengths("other") == []
    assert times.minutes(0.95) == {"sim": 1}
    assert quantile([1.0, 2.0, 4.0], 0.75) == 3.0


def test_few_runs_are_no_history() -> None:
    few = estimate(history("sim", 1, 2, 3, 4), JOB)
    assert (few.mean, few.low, few.high, few.source) == (1800, 0.5, 1.0, "wall_time_minutes")
    enough = estimate(history("sim", 1, 2, 3, 4, 5), JOB)
    assert (enough.mean, enough.runs, enough.source) == (3, 5, "history")
    assert enough.low < 1 < enough.high


def test_more_runs_are_less_doubt_and_one_that_hung_is_no_measure() -> None:
    rng = random.Random(1)
    seen = sorted(rng.lognormvariate(3, 0.5) for _ in range(400))
    many, some = of_lengths(seen), of_lengths(seen[::20])
    assert many.high - many.low < some.high - some.low
    assert many.lengths == tuple(sorted(many.lengths))
    assert many.mean == pytest.approx(sum(seen) / len(seen))
    hung = of_lengths([*seen, 1e7])
    assert hung.mean < 1.1 * many.mean


def test_lengths_that_are_all_the_same_or_nothing() -> None:
    assert of_lengths([5.0] * 10) == Estimate((5.0,) * 5, 1.0, 1.0, 10)
    assert of_lengths([0.0] * 10).mean == 0


def test_a_plan_is_a_range() -> None:
    seen = [60.0, 70, 80, 90, 100, 110, 120, 130, 140, 150]
    estimates = {JOB: of_lengths(seen)}
    todo = Work({JOB: 1000})
    asked = Asked(10, 60, wait_minutes=(0, 30), margin_minutes=1)
    found = plan(todo, estimates, asked)
    assert found.seconds.low < found.seconds.likely < found.seconds.high
    assert found.node_hours.low < found.node_hours.likely < found.node_hours.high
    assert found.node_hours.likely == pytest.approx(1000 * 105 / 3600, rel=0.1)
    assert 0.8 < found.busy <= 1
    assert found.never == 0
    alone = plan(todo, estimates, Asked(10))
    assert alone.launches.high == 1
    assert alone.seconds.likely == pytest.approx(100 * 105, rel=0.05)


def test_ever_larger_launches_are_looked_at_while_there_is_work_for_them() -> None:
    assert usual_sizes(Work({JOB: 3})) == [1, 2]
    assert usual_sizes(Work({kind_of({"num_nodes": 3}): 100})) == [3, 6, 12, 24, 48, 96]
    assert usual_sizes(Work({kind_of({"node_packing_count": 8}): 16})) == [1, 2]
    assert usual_sizes(Work({})) == [1]


def test_what_is_to_be_known_is_said() -> None:
    known = kind_of({"application": "slow", "wall_time_minutes": 1})
    estimates = {JOB: estimate(RunTimes(), JOB), known: of_lengths([100.0] * 9)}
    todo = Work({JOB: 2, known: 1}, later={JOB: 1})
    plans = [plan(todo, estimates, Asked(1, 20))]
    said = "\n".join(notes(todo, [(kind, 1, one) for kind, one in estimates.items()], plans))
    assert "of 1 job fewer than 5 runs have been seen" in said
    assert "runs take longer than their wall_time_minutes, and may be cut off: slow" in said
    assert "1 job wait for others, too many to look at each" in said
    assert "3 jobs never fit into launches of 1 node, or wait for such: the largest asks for 1 node" in said
    assert "the longest for 30 minutes" in said


def test_options() -> None:
    assert parse_nodes("8, 16,8,32") == [8, 16, 32]
    assert parse_wait("30") == (30, 30)
    assert parse_wait("10-120.5") == (10, 120.5)
    for text in ("", "0", "8,", "8;9", "-1", "9999999", "x", "²"):
        with pytest.raises(ValidationError, match="is no number of nodes"):
            parse_nodes(text)
    for text in ("", "soon", "20-10", "-5", "1-2-3", "nan"):
        with pytest.raises(ValidationError, match="must be minutes"):
            parse_wait(text)
