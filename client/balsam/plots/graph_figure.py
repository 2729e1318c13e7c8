"""The graph of a workflow as a figure: a box for each job, or for jobs of like names, filled by their states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from balsam.plots import style
from balsam.plots.layers import layout
from balsam.plots.style import GROUPS
from balsam.plots.workflow import Box, Node, Picture, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 0.82, 0.46  # of a box, where the next is 1 away
_INCHES = (1.45, 0.95)  # from a box to the next
_LEAST_INCHES, _MOST_INCHES = 5.0, 40.0
_LETTERS = 20
_LIGHT = ("#F0E442", "#C9C9C9", "#A6DCCB", "#E69F00", "#56B4E9")


def graph(nodes: Sequence[Node], title: str = "") -> Figure:
    """Who depends on whom: parents above their children.

    Args:
        nodes: what `read_graph` gives. Of more than some hundred jobs, those of like names are one box.
        title: for people.

    Raises:
        ValidationError: matplotlib is not installed.
    """
    matplotlib = style.matplotlib_or_say()
    from matplotlib.figure import Figure

    drawn = picture(nodes)
    places = layout([box.level for box in drawn.boxes], drawn.edges)
    columns = max((x for x, _ in places), default=0.0) + 0.5
    rows = max((row for _, row in places), default=0) + 1
    width = min(max(columns * _INCHES[0], _LEAST_INCHES), _MOST_INCHES)
    height = min(rows * _INCHES[1] + 1.3, _MOST_INCHES)
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_axis_off()
        wide = width / _INCHES[0]  # boxes are as wide as ever where they are few
        axes.set_xlim((columns - wide) / 2, (columns + wide) / 2)
        axes.set_ylim(rows - 0.4, -0.6)
        _draw_edges(axes, drawn, places)
        for box, (x, row) in zip(drawn.boxes, places, strict=True):
            _draw_box(axes, box, x, row)
        _legend(figure, drawn, columns=max(1, min(5, int(width / 1.7))))
        axes.set_title(_headline(drawn, title), fontsize=11)
        if not drawn.boxes:
            axes.text(0.5, 0.5, "no jobs", transform=axes.transAxes, ha="center", va="center", color=style.GREY)
    return figure


def _headline(drawn: Picture, title: str) -> str:
    text = f"{title + ': ' if title else ''}{drawn.jobs:,} job{'' if drawn.jobs == 1 else 's'}"
    if drawn.is_summary:
        text += ", like names together"
    if drawn.left_out:
        text += f" ({drawn.left_out:,} of rare names are left out)"
    return text


def _draw_edges(axes: Axes, drawn: Picture, places: Sequence[tuple[float, int]]) -> None:
    from matplotlib.patches import FancyArrowPatch

    for (parent, child), count in drawn.edges.items():
        (x0, row0), (x1, row1) = places[parent], places[child]
        # What passes a row bends, so as not to run through the boxes there.
        bend = 0.0 if row1 - row0 == 1 else 0.18 if x1 >= x0 else -0.18
        axes.add_patch(
            FancyArrowPatch(
                (x0, row0 + _HEIGHT / 2),
                (x1, row1 - _HEIGHT / 2),
                arrowstyle="-|>",
                connectionstyle=f"arc3,rad={bend}",
                mutation_scale=8,
                color="#8A8A8A",
                linewidth=0.9 if count == 1 else 1.6,
                shrinkA=0,
                shrinkB=1,
                zorder=1,
            )
        )


def _draw_box(axes: Axes, box: Box, x: float, row: int) -> None:
    from matplotlib.patches import Rectangle

    left, top = x - _WIDTH / 2, row - _HEIGHT / 2
    at = left
    main = ""
    for group in GROUPS:
        share = sum(box.states[state] for state in group.states) / box.count
        if share:
            axes.add_patch(Rectangle((at, top), share * _WIDTH, _HEIGHT, color=group.colour, linewidth=0, zorder=2))
            at += share * _WIDTH
            main = group.colour if share >= 0.5 else main
    axes.add_patch(Rectangle((left, top), _WIDTH, _HEIGHT, fill=False, edgecolor="#444444", linewidth=0.8, zorder=3))
    whole = any(sum(box.states[state] for state in group.states) == box.count for group in GROUPS)
    dark = whole and main not in _LIGHT
    style_of_text: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 4, "color": "white" if dark else "black"}
    if not whole:
        style_of_text["bbox"] = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0}
    axes.text(x, row, _label(box), fontsize=7, linespacing=1.15, **style_of_text)


def _label(box: Box) -> str:
    name = box.name if len(box.name) <= _LETTERS else f"{box.name[: _LETTERS - 1]}…"
    if box.count == 1:
        return name
    return f"{name}\n× {box.count:,}{', in chains' if box.chained else ''}"


def _legend(figure: Figure, drawn: Picture, columns: int) -> None:
    from matplotlib.patches import Patch

    seen = {state for box in drawn.boxes for state in box.states}
    groups = [group for group in GROUPS if seen & set(group.states)]
    handles = [Patch(facecolor=group.colour, edgecolor="#444444", linewidth=0.5, label=group.name) for group in groups]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), columns))
