"""`balsam which`: the site in use, and the known ones."""

from __future__ import annotations

import click

from balsam.errors import BalsamError
from balsam.patterns import matches
from balsam.site import Site, find_site
from balsam_cli import known_sites, options, services
from balsam_cli.command import Command
from balsam_cli.output import Column, Facts, Listing, Record, printer


@click.command(cls=Command)
@click.option("--list", "all_known", is_flag=True, help="All known sites.")
@click.option("--name", metavar="S", help="The known site with this name; with --list also a glob with * or ?.")
@options.as_json
def command(all_known: bool, name: str | None, as_json: bool) -> None:
    """Show the site in use and what its server says, or the sites that you made.

    \b
      balsam which
      balsam which --list
    """
    if all_known:
        known = [*known_sites.known(), *known_sites.logged_in()]
        records = [_listed(site) for site in known if name is None or matches(site.name, name)]
        printer(as_json).rows(Listing(_COLUMNS, records))
        return
    site = known_sites.named(name) if name is not None else find_site()
    record = _described(site)
    printer(as_json).one(record, Facts([(key, str(value)) for key, value in record.items() if value is not None]))


_COLUMNS = (
    Column("NAME", lambda record: record["name"]),
    Column("STATE", lambda record: record["state"]),
    Column("PATH", lambda record: record["path"]),
)


def _listed(site: Site) -> Record:
    return {"name": site.name, "path": str(site.path), "state": _state(site)}


def _state(site: Site) -> str:
    if not site.is_own:
        return "somebody else's"
    if not known_sites.exists(site):
        return "gone"
    if site.endpoint() is not None:
        return "on another host"
    try:
        running = [services.find(site, service).state != "down" for service in services.started_services(site)]
    except BalsamError:
        return "on another host"
    return "up" if all(running) else "partly up" if any(running) else "down"


def _described(site: Site) -> Record:
    """The site, with what its job store says where it runs."""
    record: Record = {"name": site.name, "path": str(site.path), "state": _state(site)}
    details = dict.fromkeys(("version", "pid", "database", "schema_revision", "jobs", "user"))
    if site.endpoint() is not None:
        from balsam_cli import afar

        details |= afar.described(site)
    elif record["state"] in ("up", "partly up"):
        answer = services.ask_site(site)
        details |= {key: getattr(answer, key) for key in details}
    return record | details
