"""`balsam log`: the logs of services and launchers."""

from __future__ import annotations

import click

from balsam_cli import options
from balsam_cli.command import Command


@click.command(cls=Command)
@click.option("--follow", "-f", is_flag=True, help="Go on as the logs grow, until interrupted.")
@click.option("--lines", "-n", type=click.IntRange(0), default=20, metavar="N", help="Last lines of each; default 20.")
@click.option("--name", metavar="S", help="Only logs whose name starts so: jobstore, scheduler, launcher.")
@options.as_json
def command(follow: bool, lines: int, name: str | None, as_json: bool) -> None:
    """Show the logs of the services and launchers of the site.

    \b
      balsam log
      balsam log -f --name scheduler
    """
    if follow and as_json:
        raise click.UsageError("--follow is for people: not together with --json")

    from balsam.site import find_site
    from balsam_cli import service_logs
    from balsam_cli.terminal import note

    site = find_site()
    files = service_logs.files(site, name or "")
    if as_json:
        from balsam_cli.output import JsonPrinter, Listing

        JsonPrinter().rows(Listing((), (service_logs.record(file, lines) for file in files)))
        return
    if not files:
        known = ", ".join(file.stem for file in service_logs.files(site, "")) or "none"
        note(f"no such log in {site.log} (there are: {known})")
        if not follow:
            return
    service_logs.show(site, name or "", lines, follow=follow)
