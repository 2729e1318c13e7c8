"""What `balsam plot` does: reads, draws, writes the picture or the numbers."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from balsam.client import Client
from balsam.errors import NotFound
from balsam.plots import figures, reading, saving, style
from balsam.plots.graph_figure import graph
from balsam.plots.workflow import Picture, picture
from balsam_cli import access, output, selection
from balsam_cli.text import parse_age


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        what: name of a figure, or `graph`.
        out: file of the picture; None: there is none.
        workflow: of these jobs: exact, or a glob; None: all.
        last: so long back, as the user wrote it; None: all.
        nodes: that there were; None: those of the launchers at work.
    """

    what: str
    out: str | None
    workflow: str | None = None
    last: str | None = None
    nodes: int | None = None


def draw(wanted: Wanted, as_json: bool) -> None:
    """Draws, and says where the picture is, or prints the numbers.

    Raises:
        ValidationError: matplotlib is not installed; a name or a span of time is wrong.
        NotFound: there is no job in the workflow.
        BalsamError: the jobs cannot be read.
        OSError: the picture cannot be written.
    """
    if wanted.out is not None:
        saving.check_target(wanted.out)
        style.matplotlib_or_say()
    last_seconds = None if wanted.last is None else parse_age(wanted.last, "--last")
    store = access.open_store()
    jobs = _jobs(store, wanted.workflow)
    title = wanted.workflow or ""
    make: Callable[[], Any]
    if wanted.what == "graph":
        nodes = reading.read_graph(jobs)
        record, make = graph_record(picture(nodes)), functools.partial(graph, nodes, title)
    else:
        with _progress(as_json) as progress:
            series = reading.read(jobs, last_seconds=last_seconds, title=title, progress=progress)
        series = series if wanted.nodes is None else series.with_nodes(wanted.nodes)
        record, make = series.record(), functools.partial(getattr(figures, wanted.what), series)
    if wanted.out is not None:
        saving.save(make(), wanted.out)
    if as_json:
        output.printer(as_json).one({**record, "file": wanted.out})
    else:
        sys.stdout.write(f"{wanted.out}\n")


def _jobs(store: Client, workflow: str | None) -> Any:
    jobs = store.BalsamJob.objects.all()
    if workflow is None:
        return jobs
    chosen = jobs.filter(**{"workflow__glob" if selection.is_glob(workflow) else "workflow": workflow})
    if not chosen.exists():
        raise NotFound(selection.why_none(store, None, workflow))
    return chosen


def graph_record(drawn: Picture) -> dict[str, Any]:
    """A graph as plain data, for `--json`."""
    return {
        "jobs": drawn.jobs,
        "left_out": drawn.left_out,
        "boxes": [
            {"name": box.name, "jobs": box.count, "level": box.level, "states": dict(box.states)} for box in drawn.boxes
        ],
        "edges": [
            {"parent": parent, "child": child, "dependencies": count} for (parent, child), count in drawn.edges.items()
        ],
    }


@contextlib.contextmanager
def _progress(as_json: bool) -> Iterator[Callable[[int], None] | None]:
    """Tells how many events have been read, where somebody waits at a terminal."""
    if as_json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("reading events ...") as status:
        yield lambda count: status.update(f"reading events ... {count:,}")
