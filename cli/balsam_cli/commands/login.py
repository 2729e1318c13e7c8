"""`balsam login`: lets this user into a site of somebody else."""

from __future__ import annotations

import shlex
import sys

import click

from balsam_cli import options
from balsam_cli.command import Command


@click.command(cls=Command)
@click.argument("site")
@options.as_json
def command(site: str, as_json: bool) -> None:
    """Log in to SITE, a directory or HOST:PORT, with the invitation that its owner has given you.

    The invitation, TOKEN:FINGERPRINT, is read from standard input, or asked for
    and not shown. It is checked with the site, and kept where only you can read
    it. Afterwards BALSAM_DB_PATH=SITE is a site like one of your own.

    \b
      balsam login /projects/climate/site
      balsam login login1:7010
    """
    from balsam.errors import SiteError
    from balsam.logging_in import is_ours, log_in
    from balsam_cli.output import Lines, printer

    if is_ours(site):
        raise SiteError(f"{site} is yours: no login is needed")
    login, role = log_in(site, _invitation())
    name = shlex.quote(login.site)
    printer(as_json).one(
        {"site": login.site, "address": login.address, "path": login.path, "user": login.user, "role": role},
        Lines([f"Logged in to {login.site} as {login.user} ({role}).", f"Next: export BALSAM_DB_PATH={name}"]),
    )


def _invitation() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline()
    answer: str = click.prompt("Invitation", hide_input=True, err=True)
    return answer
