"""What came out: a table for people, and plain data for programs. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks import goals, machine
from benchmarks.figures import Figure, Series

FORMAT = 1
"""Of the JSON; a reader refuses others."""

_TITLES = ("workload", "database", "figure", "median", "min–max", "unit", "of limit", "goal", "reached")
_RIGHT = {"median", "min–max", "of limit", "goal"}


def document(
    series: Iterable[Series],
    about: Mapping[str, Any],
    *,
    scale: str,
    job_stores: int = 1,
    profiled: bool,
    skipped: Mapping[str, str],
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """A whole run as plain data: about the machine, and every figure with all of its rounds."""
    return {
        "format": FORMAT,
        "machine": dict(about),
        "scale": scale,
        "job_stores": job_stores,
        "profiled": profiled,
        "skipped": dict(skipped),
        "failed": dict(failed),
        "figures": [_record(one) for one in series],
    }


def _record(series: Series) -> dict[str, Any]:
    figure, goal = series.figure, goals.goal_of(series)
    limit = {"title": figure.limit, "median": series.limit, "ratio": series.ratio, "rounds": series.limits}
    return {
        "key": figure.key,
        "database": series.database,
        "title": figure.title,
        "unit": figure.unit,
        "more_is_better": figure.more_is_better,
        "median": series.median,
        "rounds": series.rounds,
        "limit": limit if figure.limit else None,
        "goal": None if goal is None else vars(goal),
    }


def series_of(document: Mapping[str, Any]) -> list[Series]:
    """The figures of a document.

    Raises:
        ValueError: the document is of another format.
    """
    if document.get("format") != FORMAT:
        raise ValueError(f"its format is {document.get('format')!r}, not {FORMAT}")
    return [
        Series(
            Figure(
                record["key"],
                record["title"],
                record["unit"],
                record["more_is_better"],
                record["limit"]["title"] if record["limit"] else "",
            ),
            record["database"],
            list(record["rounds"]),
            list(record["limit"]["rounds"]) if record["limit"] else [],
        )
        for record in document["figures"]
    ]


def text(document: Mapping[str, Any]) -> str:
    """The table, and below it what was left out and why."""
    full = document["scale"] == "full"
    every = series_of(document)
    lines = [machine.line(document["machine"])]
    if document.get("job_stores", 1) > 1:
        lines.append(f"{document['job_stores']} job stores over PostgreSQL")
    if document["machine"]["load"] > machine.BUSY:
        lines.append(f"others were at work when this began: the load was {document['machine']['load']:.1f}")
    lines.append("")
    lines += table(_TITLES, [row(series, judged=full) for series in every], right=_RIGHT)
    limited = [series for series in every if series.limit is not None]
    if limited:
        lines += ["", "limits, measured in the same rounds:"]
        lines += [
            f"  {series.figure.key:14} {series.database:9} {number(series.limit or 0.0):>9} {series.figure.unit}"
            f"  {series.figure.limit}"
            for series in limited
        ]
    lines += [f"skipped {key}: {reason}" for key, reason in document["skipped"].items()]
    lines += [f"FAILED {key}: {reason}" for key, reason in document["failed"].items()]
    if not full:
        lines.append("small sizes: these figures show that it works, and nothing about speed")
    if document["profiled"]:
        lines.append("profiled: these figures are slower than they would be")
    return "\n".join(lines)


def row(series: Series, *, judged: bool) -> tuple[str, ...]:
    """One figure as a row of the table; `judged`: with its goals, which are those of full sizes."""
    goal = goals.goal_of(series) if judged else None
    low, high = min(series.rounds), max(series.rounds)
    return (
        series.figure.key.partition(".")[0],
        series.database,
        series.figure.title,
        number(series.median),
        f"{number(low)}–{number(high)}",
        series.figure.unit,
        "" if series.ratio is None else f"{series.ratio:.2f}",
        "" if goal is None else _goal_text(goal),
        "" if goal is None else _verdict(series, goal),
    )


def _goal_text(goal: goals.Goal) -> str:
    of = " of limit" if goal.of_limit else ""
    return " / ".join(number(target) for target in (goal.first, goal.second) if target is not None) + of


def _verdict(series: Series, goal: goals.Goal) -> str:
    count = goals.reached(series, goal)
    if goal.second is None or count != 1:
        return "yes" if count else "no"
    return "the first"


def number(value: float) -> str:
    """A value with three or more digits that tell something."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: Iterable[str] = ()) -> list[str]:
    """Lines of a table; the columns in `right` are aligned there."""
    aligned = set(right)
    cells = [list(titles), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if title in aligned else cell.ljust(width)
            for title, cell, width in zip(titles, line, widths, strict=True)
        ).rstrip()
        for line in cells
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
