"""What the figures should reach, on two idle cores with 24 GiB and at full scale. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.figures import Series


@dataclass(frozen=True)
class Goal:
    """What a figure should reach.

    Attributes:
        first: in the figure's unit; with `of_limit`, as a share of its limit.
        second: what to reach after that; None: the first is enough.
        of_limit: the value is taken over the limit that was measured in the same round.
    """

    first: float
    second: float | None = None
    of_limit: bool = False


def _both(first: float, second: float | None = None, *, of_limit: bool = False) -> dict[str, Goal]:
    return dict.fromkeys(("sqlite", "postgres"), Goal(first, second, of_limit))


_PAGES = (
    *("all", "workflow", "finished", "failed", "failed_in_workflow", "name", "name_contains", "data", "label", "mixed"),
    *("newest", "none"),
)

GOALS: dict[str, dict[str, Goal]] = {
    "w1.few": {"sqlite": Goal(0.70, 0.80, of_limit=True), "postgres": Goal(0.55, 0.65, of_limit=True)},
    "w1.many": {"sqlite": Goal(0.70, 0.80, of_limit=True), "postgres": Goal(0.55, 0.65, of_limit=True)},
    "w2.bulk": {"sqlite": Goal(50_000, 88_000), "postgres": Goal(25_000, 40_000)},
    "w2.single": _both(2.0),
    "w3.started": _both(6.0, 4.0),
    "w3.seen": _both(10.0, 6.5),
    "w4.chain": _both(0.3, 0.15),
    "w4.fan": _both(0.2, 0.12),
    "w5.starting": _both(2.5),
    "w5.connected": _both(0.1),
    "w6.help": _both(60.0),
    "w6.ls_some": _both(200.0),
    "w6.ls_many": _both(200.0),
    "w6.states": _both(250.0),
    "w7.drain": {"sqlite": Goal(30_000), "postgres": Goal(8_000)},
    "w7.query": _both(10.0),
    "w7.memory": _both(300.0),
    "w7.throughput": _both(0.9, of_limit=True),
    "w8.cpu": _both(1.0),
    "w8.scans": {"postgres": Goal(0.0)},
    "w9.median": _both(200.0),
    "w9.p99": _both(1000.0),
    "w10.p99": _both(15.0),
    "w11.program": _both(1.15, of_limit=True),
    "w11.python": _both(1.15, of_limit=True),
    "w12.cpu": _both(100.0),
    "w12.used": _both(98.0),
    "w13.bulk": _both(0.9, of_limit=True),
    "w13.noop": _both(0.9, of_limit=True),
    # First pages of queries, in a store of a million.
    **{f"queries.{key}": _both(100.0) for key in _PAGES},
}
"""Key of a figure -> database -> goal."""


def goal_of(series: Series) -> Goal | None:
    """The goal of a figure over its database; None: there is none."""
    return GOALS.get(series.figure.key, {}).get(series.database)


def reached(series: Series, goal: Goal) -> int:
    """How many of the goal's values are reached: 0, 1 or 2.

    Raises:
        ValueError: the goal is a share of a limit that was not measured.
    """
    value = series.ratio if goal.of_limit else series.median
    if value is None:
        raise ValueError(f"{series.figure.key}: its goal is a share of its limit, which was not measured")
    targets = [target for target in (goal.first, goal.second) if target is not None]
    sign = 1 if series.figure.more_is_better else -1
    return sum(sign * value >= sign * target for target in targets)
