"""Pictures of a campaign, from its event log.

    from balsam import BalsamJob, plots

    series = plots.read(BalsamJob.objects.filter(workflow="w"))
    plots.overview(series).savefig("w.png")
    series.frame()      # the same numbers as a pandas DataFrame

`read` needs nothing else installed. Figures are matplotlib's, which comes with ``pip install '.[plot]'``; data frames
are those of pandas, ``pip install '.[pandas]'``. Importing this loads neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from balsam.plots.figures import errors, overview, states, throughput, times, utilization
    from balsam.plots.graph_figure import graph
    from balsam.plots.reading import read, read_graph
    from balsam.plots.saving import save
    from balsam.plots.series import Series

__all__ = [
    "Series",
    "errors",
    "graph",
    "overview",
    "read",
    "read_graph",
    "save",
    "states",
    "throughput",
    "times",
    "utilization",
]

_HOMES = {"Series": "series", "graph": "graph_figure", "read": "reading", "read_graph": "reading", "save": "saving"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'balsam.plots' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"balsam.plots.{_HOMES.get(name, 'figures')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
