"""`balsam status`: services, launchers, jobs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from balsam_cli import options
from balsam_cli.command import Command

if TYPE_CHECKING:
    from balsam.site import Site
    from balsam_cli import services


@click.command(cls=Command)
@options.as_json
def command(as_json: bool) -> int:
    """Show the services of the site, the launchers at work, and how many jobs there are.

    Exits with 0 when the services are up, with 1 when not.

    \b
      balsam status
    """
    from balsam.client import Client
    from balsam.site import find_site
    from balsam_cli import access, listing, new_jobs, output, records, services, terminal

    site = find_site()
    if site.endpoint() is not None:
        from balsam_cli import afar

        access.must_run(site)
        statuses = afar.statuses(site)
    else:
        statuses = [services.probe(site, service) for service in services.started_services(site)]
    up = all(status.state == "up" for status in statuses)
    record: output.Record = {
        "site": str(site.path),
        "up": up,
        "services": [services.as_record(status) for status in statuses],
        "launchers": [],
        "jobs": {},
        "set_aside": services.set_aside(site),
    }
    blocks: list[output.Block] = [
        output.Listing(records.SERVICE_COLUMNS, record["services"], title=f"Site {site.path}")
    ]
    if any(status.state == "up" for status in statuses if status.service is not services.SCHEDULER):
        store = Client(site)
        record["launchers"] = [records.session_record(one) for one in new_jobs.launchers(store)]
        record["jobs"] = listing.states_of(store, ())
        blocks.append(output.Listing(records.SESSION_COLUMNS, record["launchers"], "Launchers"))
        blocks.append(output.Listing(listing.STATE_COLUMNS, listing.state_rows(record["jobs"]), "Jobs"))
    output.printer(as_json).one(record, *(block for block in blocks if _rows(block)))
    _say_what_was_set_aside(site, record["set_aside"])
    if not up:
        _say_what_is_missing(statuses)
    elif not as_json and not record["launchers"] and _waiting(record["jobs"]):
        terminal.hint("`balsam launcher` runs them here, `balsam submit-launch` on other nodes")
    return 0 if up else 1


def _waiting(jobs: dict[str, int]) -> bool:
    """Whether jobs wait for a launcher."""
    from balsam.states import RUNNABLE

    return any(state.name in jobs for state in RUNNABLE)


def _say_what_is_missing(statuses: list[services.Status]) -> None:
    from balsam import rpc
    from balsam_cli import terminal

    down = [f"the {status.service.title}" for status in statuses if status.state == "down"]
    if down:
        are, them = ("is", "it") if len(down) == 1 else ("are", "them")
        terminal.note(f"balsam: {' and '.join(down)} {are} not running; start {them} with `balsam up`")
    for status in statuses:
        if status.state == "silent":
            text = rpc.does_not_answer(f"the {status.service.title}", status.pid, status.host)
            terminal.note(f"balsam: {text}")


def _say_what_was_set_aside(site: Site, rows: list[dict[str, str]]) -> None:
    from balsam_cli import terminal

    if not rows:
        return
    counts = Counter(row["table"] for row in rows)
    words = " and ".join(f"{count} {table}{'s' * (count > 1)}" for table, count in counts.items())
    were = "was" if len(rows) == 1 else "were"
    shown = "; ".join(f"{row['name']}: {row['why']}" for row in rows[:3]) + ("; ..." if len(rows) > 3 else "")
    terminal.note(f"balsam: {words} {were} set aside as damaged: {shown}; see {site.set_aside}")


def _rows(block: object) -> bool:
    """A table without rows is not shown."""
    from balsam_cli.output import Listing

    return not isinstance(block, Listing) or bool(block.records)
