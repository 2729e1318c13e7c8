"""`balsam down`: stops the services of the site."""

from __future__ import annotations

import click

from balsam.site import find_site
from balsam_cli import access, options, services
from balsam_cli.command import Command
from balsam_cli.output import Lines, printer


@click.command(cls=Command)
@options.as_json
def command(as_json: bool) -> None:
    """Stop the scheduler and the job store of the site.

    Nothing is lost: jobs stay, launchers keep their runs and report them when
    the services are up again.
    """
    site = find_site()
    access.must_own(site, "stop its services")
    stopped = services.stop_all(site)
    records = [{"name": service.name, "pid": pid, "killed": killed} for service, pid, killed in stopped]
    lines = [
        f"{service.title} stopped (pid {pid}{', did not stop by itself: killed' if killed else ''})"
        for service, pid, killed in stopped
    ]
    printer(as_json).one({"site": str(site.path), "stopped": records}, Lines(lines or ["not running"]))
