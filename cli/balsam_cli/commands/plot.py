"""`balsam plot`: pictures from the event log."""

from __future__ import annotations

import click

from balsam_cli import options
from balsam_cli.command import Command

WHAT = ("overview", "throughput", "utilization", "states", "times", "errors", "graph")


@click.command(cls=Command)
@click.argument("what", type=click.Choice(WHAT), default="overview", metavar=f"[{'|'.join(WHAT)}]")
@click.option("--out", metavar="FILE", help="A .png, .svg or .pdf file; default: balsam-WHAT.png, here.")
@options.workflow
@click.option(
    "--nodes", type=click.IntRange(1), metavar="N", help="Nodes that there were; default: those of launchers at work."
)
@click.option("--last", metavar="SPAN", help="Only the last SPAN, such as 12h, 30m or 1d12h.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as one JSON document; draw with --out only.")
def command(
    what: str, out: str | None, workflow: str | None, nodes: int | None, last: str | None, as_json: bool
) -> None:
    """Draw what has happened to the jobs: throughput, nodes in use, states, times, errors, or a workflow's graph.

    overview (the default) has all but the graph on one page. graph draws who depends
    on whom, for jobs of one workflow or a few. Pictures need the package matplotlib.

    \b
      balsam plot --wf scan --out scan.svg
      balsam plot utilization --last 12h
    """
    if what == "graph" and (last is not None or nodes is not None):
        raise click.UsageError("--last, --nodes: a graph has no time and no nodes")

    from balsam_cli.plotting import Wanted, draw

    draw(Wanted(what, out or (None if as_json else f"balsam-{what}.png"), workflow, last, nodes), as_json)
