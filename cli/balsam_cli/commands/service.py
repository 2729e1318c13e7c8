"""`balsam service`: the automatic submitter."""

from __future__ import annotations

import click

from balsam_cli import options
from balsam_cli.command import Command


@click.command(cls=Command)
@click.option("--once", is_flag=True, help="Do one round, and exit.")
@click.option("--dry-run", is_flag=True, help="Print what would be submitted and why, and submit nothing.")
@options.as_json
def command(once: bool, dry_run: bool, as_json: bool) -> int:
    """Keep the right launches queued for the work there is, by the policy in SITE/policy.toml.

    It stays in the foreground, is told by the job store when work comes, and asks
    the batch system every minute how launches stand. What it submits and why, and
    what not, goes to stderr and to SITE/log/service.log. Ctrl-C or SIGTERM ends
    it; launches that are queued stay. There is one for each site.

    With --dry-run it changes nothing and prints a table, or one document with
    --json. With --once it exits with 1 when a launch could not be submitted.

    \b
      balsam service --dry-run
      balsam service
    """
    if as_json and not dry_run:
        raise click.UsageError("--json goes with --dry-run")

    from balsam.site import find_site
    from balsam_cli import access

    site = find_site()
    store = access.open_store(site)
    if dry_run:
        from balsam_cli.submitter_view import show

        show(store, as_json)
        return 0

    from balsam_cli.submitter import Submitter

    return Submitter(site, store).run(once=once)
