"""Series as figures of matplotlib: each function gives a new one, which is shown or saved as usual.

Nothing global is touched: figures belong to no window, and the settings of matplotlib are as before.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from balsam.plots import style
from balsam.plots.series import Series
from balsam.plots.style import GROUPS
from balsam.states import END

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BARS = 60
"""Bars in a histogram, at most."""
_FEW_SECONDS = 10.0  # in less, times on the axis are seconds and parts of them
_AFTER = 0.02
"""For so long, as a share of the whole, the states at the end of a campaign are shown behind its last event."""
_ENDED = frozenset(state.name for state in END)
_COLUMNS = 4
_NARROW = 0.999  # a bin of less than this of the usual width is narrower, whatever rounding does
_LEGEND_POINTS = 14  # of a line of a legend
_SHORTEST = 1e-3
"""Stays are drawn from so long on [s]."""
_ENDS = (
    ("RUN_ERROR", "run failed", style.ORANGE),
    ("RUN_TIMEOUT", "run cut off", "#56B4E9"),
    ("FAILED", "job failed", "black"),
)


def overview(series: Series) -> Figure:
    """Throughput, nodes in use, jobs by state, time in each state, and errors, on one page."""
    return _figure(series, (_throughput, _utilization, _states, _times, _errors), (12.0, 11.0))


def throughput(series: Series) -> Figure:
    """Runs that succeeded, over time, as a rate."""
    return _figure(series, (_throughput,))


def utilization(series: Series) -> Figure:
    """Nodes in use by running jobs, against those of the launchers."""
    return _figure(series, (_utilization,))


def states(series: Series) -> Figure:
    """How many jobs are in which state, over time."""
    return _figure(series, (_states,))


def times(series: Series) -> Figure:
    """How long jobs stay in each state."""
    return _figure(series, (_times,))


def errors(series: Series) -> Figure:
    """Runs that failed or were cut off, and jobs that failed, over time."""
    return _figure(series, (_errors,))


_Panel = Callable[[Any, Series], None]


def _figure(series: Series, panels: Sequence[_Panel], size: tuple[float, float] = (9.0, 4.5)) -> Figure:
    """A figure with these panels, the last over the whole width where their number is odd.

    Raises:
        ValidationError: matplotlib is not installed.
    """
    matplotlib = style.matplotlib_or_say()
    from matplotlib.figure import Figure

    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=size, layout="constrained")
        rows = (len(panels) + 1) // 2 if len(panels) > 1 else 1
        grid = figure.add_gridspec(rows, 2 if len(panels) > 1 else 1)
        for number, panel in enumerate(panels):
            alone = number == len(panels) - 1 and number % 2 == 0
            place = grid[number // 2, :] if alone else grid[number // 2, number % 2]
            panel(figure.add_subplot(place), series)
        figure.suptitle(_headline(series), fontsize=12, x=0.01, ha="left")
    return figure


def _headline(series: Series) -> str:
    about = f"{series.title}: " if series.title else ""
    if not series.edges:
        return f"{about}no jobs"
    count = f"{series.total:,} job{'' if series.total == 1 else 's'}"
    return f"{about}{count}, {style.span(series.edges[-1] - series.edges[0])}"


# Panels


def _throughput(axes: Axes, series: Series) -> None:
    axes.set_title("Throughput")
    edges, counts = _evened(*_coarse(series, series.entered.get("RUN_DONE", ())))
    if not sum(counts):
        _nothing(axes, "no run has succeeded")
        return
    rates = [count / (end - start) for count, start, end in zip(counts, edges, edges[1:], strict=False)]
    size, unit = style.rate_unit(rates)
    axes.stairs([rate * size for rate in rates], _local(edges), fill=True, color=style.GREEN, alpha=0.85)
    axes.set_ylabel(f"successful runs per {unit}")
    total, seconds = sum(counts), edges[-1] - edges[0]
    mean = total / seconds * size
    axes.axhline(mean, color=style.GREY, linewidth=1, linestyle="--", label=f"mean {mean:,.3g} per {unit}")
    _legend_above(axes)
    _over_time(axes, edges)


def _utilization(axes: Axes, series: Series) -> None:
    axes.set_title("Nodes in use")
    if not any(series.nodes):
        _nothing(axes, "no job has run")
        return
    times = _local(series.edges)
    share = series.utilization()
    label = "in use by running jobs" + ("" if share is None else f": {share:.0%}")
    axes.stairs(series.nodes, times, fill=True, color=style.BLUE, alpha=0.75, label=label)
    running = max(series.jobs.get("RUNNING", (0.0,)))
    if running > 1.5 * max(series.nodes) or running < 0.67 * max(series.nodes):
        axes.stairs(series.jobs["RUNNING"], times, color=style.ORANGE, linewidth=1.2, label="running jobs")
        axes.set_ylabel("nodes, jobs")
    else:
        axes.set_ylabel("nodes")
    capacity = series.capacity()
    if any(capacity):
        label = "nodes that there are"
        axes.stairs(capacity, times, color="black", linewidth=1.4, linestyle="--", label=label)
    axes.set_ylim(top=1.06 * max([*series.nodes, *capacity, axes.dataLim.ymax]))
    _counts(axes)
    _legend_above(axes)
    _over_time(axes, series.edges)


def _states(axes: Axes, series: Series) -> None:
    axes.set_title("Jobs by state")
    if not series.edges:
        _nothing(axes, "no jobs")
        return
    edges, bands = _bands(series)
    axes.stackplot(
        _local(edges),
        # A band is as high to the end of its bin as at its beginning: stairs.
        [[*heights, heights[-1]] for _, heights in bands],
        colors=[group.colour for group, _ in bands],
        labels=[group.name for group, _ in bands],
        step="post",
    )
    axes.set_ylabel("jobs")
    _counts(axes)
    _legend_above(axes)
    _over_time(axes, edges)


def _bands(series: Series) -> tuple[list[float], list[tuple[style.Group, list[float]]]]:
    """Edges, and the jobs of each group between them; of what has ended also how it stands then, in a bin more."""
    edges = [*series.edges]
    has_ended = bool(series.last) and series.last.keys() <= _ENDED
    if has_ended:
        edges.append(edges[-1] + _AFTER * (edges[-1] - edges[0]))
    bands = []
    for group in GROUPS:
        members = [series.jobs[state] for state in group.states if state in series.jobs]
        heights = [float(sum(values)) for values in zip(*members, strict=True)]
        if has_ended and members:
            heights.append(float(sum(series.last.get(state, 0) for state in group.states)))
        if any(heights):
            bands.append((group, heights))
    return edges, bands


def _times(axes: Axes, series: Series) -> None:
    axes.set_title("Time in each state")
    order = [state for group in reversed(GROUPS) for state in reversed(group.states)]
    shown = [state for state in order if state in series.stays and series.stays[state].high >= _SHORTEST]
    if not shown:
        _nothing(axes, "no job has stayed in a state for a millisecond" if series.stays else "no jobs")
        return
    for place, state in enumerate(shown):
        stay, colour = series.stays[state], style.COLOURS[state]
        low, median = max(stay.low, _SHORTEST), max(stay.median, _SHORTEST)
        axes.plot([low, stay.high], [place, place], color=colour, linewidth=7, solid_capstyle="butt")
        axes.plot([median], [place], "o", color="black", markersize=4.5)
        axes.annotate(
            style.span(stay.median),
            (max(stay.high, median), place),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.set_yticks(range(len(shown)), [f"{state}  ({series.stays[state].count:,})" for state in shown])
    axes.set_ylim(-0.7, len(shown) - 0.3)
    least, most = axes.get_xlim()
    axes.set_xlim(max(least, _SHORTEST / 2), most * 4)
    _log_time(axes)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("bar: 10 to 90 %, dot: median; in brackets: how often a job was in it")


def _errors(axes: Axes, series: Series) -> None:
    axes.set_title("Errors")
    found = [(state, name, colour) for state, name, colour in _ENDS if sum(series.entered.get(state, ()))]
    if not found:
        _nothing(axes, "no errors" if series.edges else "no jobs")
        return
    base = [0] * len(_coarse(series, ())[1])
    for state, name, colour in found:
        edges, counts = _coarse(series, series.entered[state])
        label = f"{name} ({state}): {sum(counts):,}"
        if state == "FAILED":  # of most of these a run has failed: they are not added to that
            axes.stairs(counts, _local(edges), color=colour, linewidth=1.6, label=label)
            continue
        tops = [low + count for low, count in zip(base, counts, strict=True)]
        axes.stairs(tops, _local(edges), baseline=base, fill=True, color=colour, label=label)
        base = tops
    width = edges[2] - edges[1] if len(edges) > 2 else edges[1] - edges[0]
    axes.set_ylabel(f"errors in {style.span(width)}")
    _counts(axes)
    _legend_above(axes)
    _over_time(axes, edges)


# What panels have in common


def _coarse(series: Series, counts: Sequence[int]) -> tuple[list[float], list[int]]:
    """Edges [s] and counts of fewer, wider bins."""
    edges = list(series.edges)
    values = list(counts) or [0] * max(0, len(edges) - 1)
    step = -(-len(values) // _BARS) or 1
    return [*edges[:-1:step], edges[-1]] if edges else [], [
        sum(values[first : first + step]) for first in range(0, len(values), step)
    ]


def _evened(edges: list[float], counts: list[int]) -> tuple[list[float], list[int]]:
    """Edges [s] and counts without a first and a last bin that are narrower than the others: each joins its neighbour.

    A series ends with its last event, so the last bin may be a few milliseconds with some events in it, which would be
    a rate that never was.
    """
    edges, counts = edges[:], counts[:]
    usual = max((end - start for start, end in itertools.pairwise(edges)), default=0.0)
    if len(counts) > 1 and edges[-1] - edges[-2] < _NARROW * usual:
        del edges[-2]
        counts[-2:] = [sum(counts[-2:])]
    if len(counts) > 1 and edges[1] - edges[0] < _NARROW * usual:
        del edges[1]
        counts[:2] = [sum(counts[:2])]
    return edges, counts


def _local(edges: Sequence[float]) -> list[Any]:
    """Edges as the numbers that matplotlib has for times."""
    date2num = _dates().date2num
    return [float(date2num(datetime.fromtimestamp(edge).astimezone())) for edge in edges]


def _over_time(axes: Axes, edges: Sequence[float]) -> None:
    dates = _dates()
    zone = datetime.fromtimestamp(edges[-1]).astimezone().tzinfo
    locator = dates.AutoDateLocator(tz=zone, minticks=3, maxticks=8)
    formatter = dates.ConciseDateFormatter(locator, tz=zone)
    if edges[-1] - edges[0] > _FEW_SECONDS:
        formatter.formats[5] = "%H:%M:%S"
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    start, end = _local([edges[0], edges[-1]])
    axes.set_xlim(start, end)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"local time ({datetime.fromtimestamp(edges[-1]).astimezone().tzname()})")


def _dates() -> Any:
    """matplotlib's module for times; parts of it have no types."""
    from matplotlib import dates

    return dates


def _counts(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=axes.get_ylim()[1] >= 3))
    if axes.get_ylim()[1] >= 3:
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _log_time(axes: Axes) -> None:
    """Ticks at spans of time that people know."""
    from matplotlib.ticker import FixedLocator, NullLocator

    spans = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 6 * 3600.0, 86400.0, 7 * 86400.0, 30 * 86400.0)
    least, most = axes.get_xlim()
    shown = [one for one in spans if least <= one <= most]
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([style.span(one) for one in shown])


def _legend_above(axes: Axes) -> None:
    """A legend that covers nothing: between title and picture."""
    handles, labels = axes.get_legend_handles_labels()
    columns = min(len(labels), _COLUMNS)
    axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        borderaxespad=0.1,
        columnspacing=1.2,
        handlelength=1.2,
    )
    axes.set_title(axes.get_title(loc="left"), pad=8 + _LEGEND_POINTS * -(-len(labels) // columns))


def _nothing(axes: Axes, text: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=style.GREY)
