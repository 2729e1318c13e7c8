"""`balsam init`: makes a site."""

from __future__ import annotations

import dataclasses
import shlex

import click

from balsam.addresses import parse_address
from balsam.errors import ValidationError
from balsam.settings import Settings
from balsam.site import make_site, write_closed
from balsam_cli import known_sites, options, team_folders
from balsam_cli.command import Command
from balsam_cli.databases import check_database
from balsam_cli.output import Lines, printer


@click.command(cls=Command)
@click.argument("path")
@click.option("--db", metavar="DB", default="sqlite", help="sqlite (default), postgres, or the URL of a PostgreSQL.")
@click.option("--listen", metavar="HOST:PORT", default="", help="Listen there, with TLS, for other hosts and users.")
@click.option("--group", metavar="G", help="Share data/ with this Unix group (docs/team.md).")
@options.as_json
def command(path: str, db: str, listen: str, group: str | None, as_json: bool) -> None:
    """Make a site at PATH: settings, policy, database, job templates, data/, log/, qsubmit/, credentials.

    The default database is an embedded SQLite; `postgres` makes a private
    PostgreSQL in the site; a URL names a server that exists. By default only you
    can use it, on the host of its services; --listen gives it certificates of an
    authority of its own.

    \b
      balsam init ~/campaign
      balsam init ~/campaign --db postgres
      balsam init ~/campaign --listen login1:7010
    """
    from balsam_scheduler.batch import policy, templates

    if not path:
        raise ValidationError("PATH is empty", field="path")
    if listen:
        listen = str(parse_address(listen, "--listen"))
    settings = dataclasses.replace(Settings(), database=check_database(db, "--db"), listen=listen)
    group_number = None if group is None else team_folders.find_group(group)
    site = make_site(path, settings)
    if group_number is not None:
        team_folders.share(site, group_number)
    templates.copy_to(site)
    write_closed(site.path / policy.POLICY_FILE, policy.render())
    known_sites.remember(site)
    where = shlex.quote(str(site.path))
    printer(as_json).one(
        {"path": str(site.path), "name": site.name},
        Lines(
            [
                f"Made the site {site.path}.",
                *_listening(settings),
                f"Next: export BALSAM_DB_PATH={where}",
                "      balsam up",
            ]
        ),
    )


def _listening(settings: Settings) -> list[str]:
    """What to say of where it listens."""
    if not settings.listen:
        return []
    from balsam import certificates
    from balsam_cli.certificates_view import warnings

    address = certificates.public_address(settings)
    host = parse_address(settings.listen, "--listen").host
    return [f"It listens at {address}, with TLS by an authority of its own.", *warnings(host)]
