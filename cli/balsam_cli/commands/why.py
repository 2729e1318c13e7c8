"""`balsam why`: why a job is not running."""

from __future__ import annotations

import click

from balsam_cli import options
from balsam_cli.command import Command


@click.command(cls=Command)
@click.argument("job", metavar="ID")
@options.as_json
def command(job: str, as_json: bool) -> None:
    """Say why a job is not running (yet), and the smallest change that would start it.

    Asks the services, the launchers and the batch system as they are now. Names the
    first condition that holds the job, and a command to type where there is one.

    \b
      balsam why 3fa8
    """
    from balsam.client import Client
    from balsam.site import find_site
    from balsam_cli import output, selection
    from balsam_cli.why import explaining

    site = find_site()
    reason = explaining.of_services(site)
    if reason is None:
        store = Client(site)
        (job_id,) = selection.find_ids(store, [job])
        reason = explaining.of_job(store, job_id)
    output.printer(as_json).one(reason.record(), output.Lines(reason.lines()))
