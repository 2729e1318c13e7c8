"""`balsam up`: starts the services of the site."""

from __future__ import annotations

import click

from balsam.site import Site, find_site
from balsam.version import VERSION
from balsam_cli import access, options, services
from balsam_cli.command import Command
from balsam_cli.output import Lines, printer
from balsam_cli.terminal import hint, note


@click.command(cls=Command)
@click.option("--foreground", is_flag=True, help="Stay, with the services as children, until a signal comes.")
@options.as_json
def command(foreground: bool, as_json: bool) -> int | None:
    """Start the job store and the scheduler of the site, and return when they answer.

    What runs already is left alone. The services keep nothing of this
    terminal: they go on when it is closed.

    \b
      balsam up
      balsam up --foreground
    """
    if foreground:
        from balsam_cli.foreground import run_in_foreground

        return run_in_foreground(_own_site())
    start(as_json)
    return None


def _own_site() -> Site:
    site = find_site()
    access.must_own(site, "start its services")
    return site


def start(as_json: bool) -> None:
    """Starts what is missing of the site in use, and prints what there is then."""
    site = _own_site()
    statuses = services.start_all(site)
    printer(as_json).one(
        {"site": str(site.path), "services": [services.as_record(status) for status in statuses]},
        Lines(_lines(statuses)),
    )
    if not as_json:
        hint("`balsam job ...` adds jobs, `balsam launcher` runs them")
    for status in statuses:
        if status.version not in ("", VERSION):
            note(
                f"balsam: the {status.service.title} runs Balsam {status.version}, and this is {VERSION}: "
                "`balsam down` and `balsam up` bring it to this version"
            )


def _lines(statuses: list[services.Status]) -> list[str]:
    if all(status.state == "up" for status in statuses):
        pids = ", ".join(f"{status.service.title}: pid {status.pid}" for status in statuses)
        return [f"already up ({pids})"]
    words = {"started": "started", "up": "was up already"}
    return [f"{status.service.title} {words[status.state]} (pid {status.pid})" for status in statuses]
