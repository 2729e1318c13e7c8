"""`balsam server`: who may use the site, and from where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from balsam_cli import options
from balsam_cli.command import Command

if TYPE_CHECKING:
    from balsam.client import Client
    from balsam_cli.output import Printer


@click.command(cls=Command)
@click.option("--add-user", metavar="U", help="Give U a token; one that U had before ends at once.")
@click.option("--role", type=click.Choice(("member", "viewer")), help="What U may do; default: member.")
@click.option(
    "--expires", type=float, metavar="DAYS", help="The token is good for so long; 0: for ever. Default: a setting."
)
@click.option("--drop-user", metavar="U", help="End what U may do; U's jobs stay.")
@click.option("--list-users", is_flag=True, help="List the users.")
@click.option(
    "--list-connections",
    "--list-active-connections",
    "list_connections",
    is_flag=True,
    help="List who is connected now, and through what.",
)
@click.option("--audit", is_flag=True, help="List what was changed last, by whom and through what.")
@click.option("--limit", type=click.IntRange(1, 10_000), metavar="N", help="Entries of --audit; default: 100.")
@click.option("--listen", metavar="HOST:PORT", help="Listen there, with TLS, for other hosts and users; none: no more.")
@click.option("--new-certificate", is_flag=True, help="Make a new certificate by the site's authority.")
@click.option("--new-authority", is_flag=True, help="Make a new authority: everybody else has to log in again.")
@click.option("--connect", is_flag=True, hidden=True, help="Of Balsam 0.x: `balsam up`.")
@click.option("--reset", is_flag=True, hidden=True, help="Of Balsam 0.x: `balsam down` and `balsam up`.")
@options.as_json
def command(
    add_user: str | None,
    role: str | None,
    expires: float | None,
    drop_user: str | None,
    list_users: bool,
    list_connections: bool,
    audit: bool,
    limit: int | None,
    listen: str | None,
    new_certificate: bool,
    new_authority: bool,
    connect: bool,
    reset: bool,
    as_json: bool,
) -> None:
    """Say who may use the site and from where, see who does, and who has changed what.

    A member adds jobs and applications and changes their own, and runs them with
    `balsam launcher`. A viewer reads. What is printed for a new user is shown this
    once: they give it to `balsam login`.

    --listen counts from the next start of the services on; new certificates
    count at once, for who connects from then on.

    \b
      balsam server --add-user ann
      balsam server --list-connections
    """
    on_port = listen is not None or new_certificate or new_authority
    given = [listen is not None, new_certificate, new_authority]
    given += [add_user is not None, drop_user is not None, list_users, list_connections, audit, connect, reset]
    if sum(given) != 1:
        raise click.UsageError(
            "give one of --listen, --new-certificate, --new-authority, --add-user, --drop-user, --list-users, "
            "--list-connections, --audit"
        )
    if add_user is None and (role is not None or expires is not None):
        raise click.UsageError("--role and --expires go with --add-user")
    if not audit and limit is not None:
        raise click.UsageError("--limit goes with --audit")
    if connect or reset:
        _start(as_json, again=reset)
        return
    if on_port:
        from balsam_cli import certificates_view

        certificates_view.change(listen, certificate=new_certificate, authority=new_authority, as_json=as_json)
        return
    from balsam_cli import access, users
    from balsam_cli.output import Listing, printer

    store = access.open_store()
    out = printer(as_json)
    if add_user is not None:
        _add(store, add_user, role or "member", expires, out)
    elif drop_user is not None:
        _drop(store, drop_user, out)
    elif list_users:
        out.rows(Listing(users.USER_COLUMNS, users.listed(store)))
    elif list_connections:
        out.rows(Listing(users.CONNECTION_COLUMNS, users.connections(store)))
    else:
        out.rows(Listing(users.AUDIT_COLUMNS, users.audit(store, limit or 100)))


def _start(as_json: bool, *, again: bool) -> None:
    """What `server --connect` and `server --reset` did in Balsam 0.x: there is a database server, or a fresh one."""
    from balsam_cli.commands import down, up
    from balsam_cli.terminal import note

    note(f"note: this is {'`balsam down` and `balsam up`' if again else '`balsam up`'} now")
    if again:
        down.stop()
    up.start(as_json)


def _add(store: Client, name: str, role: str, days: float | None, out: Printer) -> None:
    """Prints the invitation on stdout, alone, so that it can be sent on."""
    from balsam_cli import users
    from balsam_cli.output import Lines
    from balsam_cli.terminal import note
    from balsam_cli.text import local_time, parse_time

    user, token = users.add(store, name, role, days)
    invitation = users.invitation(store.site, token)
    until = local_time(parse_time(user["expire_time"]))
    note(f"{name} is a {role}{f' until {until}' if until else ''}; they give this to `balsam login {store.site.path}`:")
    if user["replaced"]:
        note("the token of before is not valid any more")
    out.one({**user, "token": invitation}, Lines([invitation]))


def _drop(store: Client, name: str, out: Printer) -> None:
    from balsam_cli import users
    from balsam_cli.output import Lines
    from balsam_cli.text import count

    unfinished = users.drop(store, name)
    stay = f"; {count(unfinished, 'job')} of theirs that have not ended stay" if unfinished else ""
    record = {"name": name, "unfinished_jobs": unfinished}
    out.one(record, Lines([f"Dropped {name}: their token is not valid any more{stay}."]))
