"""`balsam plan`: when the jobs would finish, and what that costs."""

from __future__ import annotations

import click

from balsam_cli import options
from balsam_cli.command import Command


@click.command(cls=Command)
@click.option("--nodes", metavar="N[,N...]", help="Sizes of launches to compare; default: from the largest job on.")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    metavar="M",
    help="Each launch lasts so long; default: no limit.",
)
@click.option(
    "--queue-wait",
    metavar="W[-W]",
    default="0",
    help="Minutes in the queue before each launch: one number, or a range.",
)
@click.option(
    "--job-mode",
    type=click.Choice(("auto", "mpi", "serial")),
    default="auto",
    help="Of the launchers: auto (default), mpi (whole nodes) or serial (serial jobs only).",
)
@options.workflow
@options.as_json
def command(
    nodes: str | None, minutes: float | None, queue_wait: str, job_mode: str, workflow: str | None, as_json: bool
) -> None:
    """Estimate when the jobs that are there finish, and how many node-hours that costs, in launches of given sizes.

    How long runs take is learned from the history of each application; where that
    is short, from wall_time_minutes. Launches follow each other until nothing is left.

    \b
      balsam plan --nodes 16,64,256 --minutes 360 --queue-wait 30-240
    """
    from balsam_cli.plan.options import parse_nodes, parse_wait
    from balsam_cli.plan.showing import Question, show

    sizes = parse_nodes(nodes) if nodes is not None else []
    show(Question(sizes, minutes, parse_wait(queue_wait), job_mode, workflow), as_json)
