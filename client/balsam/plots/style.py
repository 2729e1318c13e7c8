"""How the pictures look: colours, groups of states, numbers and times on the axes.

The colours are those of M. Okabe and K. Ito, "Color Universal Design" (2008), which people tell apart who do not see
all colours; bars and bands are also separated by white lines, and named in the same order as they are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from balsam.errors import ValidationError


class Group(NamedTuple):
    """States that are drawn as one.

    Attributes:
        name: for the legend.
        states: their names.
        colour: as `#rrggbb`.
    """

    name: str
    states: tuple[str, ...]
    colour: str


GROUPS = (
    Group("finished", ("JOB_FINISHED",), "#009E73"),
    Group("after the run", ("RUN_DONE", "POSTPROCESSED"), "#A6DCCB"),
    Group("running", ("RUNNING",), "#0072B2"),
    Group("ready to run", ("PREPROCESSED", "RESTART_READY"), "#56B4E9"),
    Group("being prepared", ("CREATED", "READY", "STAGED_IN"), "#F0E442"),
    Group("waiting for parents", ("AWAITING_PARENTS",), "#C9C9C9"),
    Group("run failed or cut off", ("RUN_ERROR", "RUN_TIMEOUT"), "#E69F00"),
    Group("failed", ("FAILED",), "#D55E00"),
    Group("killed", ("USER_KILLED",), "#CC79A7"),
)
"""All states, in the order in which they are stacked."""
COLOURS = {state: group.colour for group in GROUPS for state in group.states}
"""State -> colour."""
BLUE, GREEN, ORANGE, GREY = "#0072B2", "#009E73", "#E69F00", "#6B6B6B"

RC: dict[str, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": "#333333",
    "grid.color": "#ECECEC",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "font.size": 9.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of jobs may hold a dollar
}
"""Settings of matplotlib, for as long as something is drawn."""


def matplotlib_or_say() -> Any:
    """The module `matplotlib`.

    Raises:
        ValidationError: it is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise ValidationError(
            "pictures need the package matplotlib: `pip install matplotlib`, or Balsam with its extra `plot`"
        ) from None
    return matplotlib


RATES = ((1.0, "second"), (60.0, "minute"), (3600.0, "hour"), (86400.0, "day"))


def rate_unit(per_second: Sequence[float]) -> tuple[float, str]:
    """The unit of time by which rates are told, in seconds and by name: the shortest in which the largest is 1 or more.

    Args:
        per_second: the rates [1/s].
    """
    largest = max(per_second, default=0.0)
    return next(((size, name) for size, name in RATES if largest * size >= 1), RATES[-1])


def span(seconds: float) -> str:
    """A span of time for people, in one unit: ``0.4 s``, ``12 s``, ``5 min``, ``3.2 h``, ``4 d``."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms")):
        if seconds >= size or size == 1e-3:
            value = seconds / size
            return f"{value:.1f} {unit}" if value < 10 and round(value, 1) % 1 else f"{value:.0f} {unit}"
    raise AssertionError
