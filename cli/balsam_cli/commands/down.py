"""`balsam down`: stops the services of the site."""

from __future__ import annotations

import click

from balsam.site import Site, find_site
from balsam_cli import access, options, services
from balsam_cli.command import Command
from balsam_cli.output import Lines, printer
from balsam_cli.terminal import hint


@click.command(cls=Command)
@options.as_json
def command(as_json: bool) -> None:
    """Stop the scheduler and the job store of the site.

    Nothing is lost: jobs stay, launchers keep their runs and report them when
    the services are up again.

    \b
      balsam down
    """
    site, stopped = stop()
    records = [{"name": service.name, "pid": pid, "killed": killed} for service, pid, killed in stopped]
    lines = [
        f"{service.title} stopped (pid {pid}{', did not stop by itself: killed' if killed else ''})"
        for service, pid, killed in stopped
    ]
    printer(as_json).one({"site": str(site.path), "stopped": records}, Lines(lines or ["not running"]))
    if not as_json:
        hint("`balsam up` starts them again")


def stop() -> tuple[Site, list[tuple[services.Service, int, bool]]]:
    """Stops what runs of the site in use: (service, pid, whether it had to be killed)."""
    site = find_site()
    access.must_own(site, "stop its services")
    return site, services.stop_all(site)
