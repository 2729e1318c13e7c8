"""`balsam server`: who may use the site, and from where."""

from __future__ import annotations

import click

from balsam_cli import options
from balsam_cli.command import Command


@click.command(cls=Command)
@click.option("--listen", metavar="HOST:PORT", help="Listen there, with TLS, for other hosts and users; none: no more.")
@click.option("--new-certificate", is_flag=True, help="Make a new certificate by the site's authority.")
@click.option("--new-authority", is_flag=True, help="Make a new authority: everybody else has to log in again.")
@options.as_json
def command(listen: str | None, new_certificate: bool, new_authority: bool, as_json: bool) -> None:
    """Say from where the site can be used.

    --listen counts from the next start of the services on; new certificates
    count at once, for who connects from then on.
    """
    if sum((listen is not None, new_certificate, new_authority)) != 1:
        raise click.UsageError("give one of --listen, --new-certificate, --new-authority")
    from balsam_cli import certificates_view

    certificates_view.change(listen, certificate=new_certificate, authority=new_authority, as_json=as_json)
