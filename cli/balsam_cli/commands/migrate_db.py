"""`balsam migrate-db`: moves the site to another database."""

from __future__ import annotations

from typing import Any

import click

from balsam_cli import options
from balsam_cli.command import Command


@click.command(cls=Command)
@click.argument("url", metavar="URL|sqlite|postgres")
@options.as_json
def command(url: str, as_json: bool) -> None:
    """Move the whole database of the site: jobs, history, sessions, all.

    `sqlite` is the embedded one, `postgres` a private PostgreSQL in the site, a
    URL an empty database on a server. The services must be down. Everything is
    copied and compared, and only then does the site change over; the database
    of before stays as a backup. If this is cut off, the site works as before,
    and it can be done again.

    \b
      balsam migrate-db postgres
      balsam migrate-db postgresql://db.example.org/campaign
    """
    from balsam.errors import SiteError
    from balsam.site import find_site
    from balsam_cli import access, output, services
    from balsam_cli.databases import check_database

    target = check_database(url, "URL")
    site = find_site()
    access.must_own(site, "move its database")
    every = services.services_of(site)
    running = [service.title for service in every if services.find(site, service).state != "down"]
    if running:
        raise SiteError(f"the {' and the '.join(running)} of {site.path} run; stop them with `balsam down`")
    moved = services.move_database(site, target)
    output.printer(as_json).one({"site": str(site.path), **moved}, output.Lines(_lines(moved)))


def _lines(moved: dict[str, Any]) -> list[str]:
    rows = sum(table["rows"] for table in moved["tables"].values())
    return [
        f"moved {rows:,} rows from {moved['before']} to {moved['after']}, and compared both",
        f"the database of before stays as a backup: {moved['backup']}",
        "start the services with `balsam up`",
    ]
