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
    """Add N jobs that run `true`, to try things out and to measure.

    \b
      balsam make-dummies 1000
    """
    from balsam.fields import JOB_FIELDS
    from balsam_cli import access, new_jobs, output, terminal

    JOB_FIELDS["workflow"].check(workflow)
    jobs = [{"name": f"dummy-{number}", "workflow": workflow, "args": "true"} for number in range(count)]
    store = access.open_store()
    ids = new_jobs.add(store, jobs, quiet=as_json)
    output.printer(as_json).ids(ids)
    if not new_jobs.warn_if_nobody_takes(store, jobs[:1]) and not as_json:
        terminal.hint(new_jobs.hint_of(ids))
