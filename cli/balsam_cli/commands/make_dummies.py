"""`balsam make-dummies`: adds jobs that do nothing."""

from __future__ import annotations

import click

from balsam_cli import options
from balsam_cli.command import Command


@click.command(cls=Command)
@click.argument("count", type=click.IntRange(1, 1_000_000), metavar="N")
@click.option("--workflow", "--wf", default="dummies", metavar="W", help="Their workflow; default dummies.")
@options.as_json
def command(count: int, workflow: str, as_json: bool) -> None:
    """Add N jobs that run `true`, to try things out and to measure."""
    from balsam.fields import JOB_FIELDS
    from balsam_cli import access, new_jobs, output

    JOB_FIELDS["workflow"].check(workflow)
    jobs = [{"name": f"dummy-{number}", "workflow": workflow, "args": "true"} for number in range(count)]
    output.printer(as_json).ids(new_jobs.add(access.open_store(), jobs))
