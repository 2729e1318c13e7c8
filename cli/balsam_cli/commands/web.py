"""`balsam web`: the campaign in a browser."""

from __future__ import annotations

import click

from balsam_cli.command import Command


@click.command(cls=Command)
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Where; by default a free port.")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser of this desktop.")
def command(port: int, opens: bool) -> None:
    """Serve a page that shows the campaign, live, until interrupted.

    The page is served on loopback (127.0.0.1) only. The link that is printed
    lets one browser in, with your rights; then another is printed. From
    another machine: ssh -N -L N:127.0.0.1:N HOST, with the N of --port.

    \b
      balsam web
      balsam web --port 8080 --open
    """
    from balsam.errors import SiteError
    from balsam_cli import access
    from balsam_cli.terminal import note

    site = access.open_store().site
    try:
        from balsam_web.serving import serve
    except ModuleNotFoundError as error:
        raise SiteError(f"`balsam web` needs the package {error.name}: pip install '.[web]' in the clone") from None

    def show(link: str, first: bool) -> None:
        if not first:
            note("the link has been used; for another browser:")
        click.echo(link)
        if first:
            note(f"balsam web shows {site.path} there; Ctrl-C ends it")
            if opens:
                from balsam_web.browser import open_page

                open_page(link)

    serve(site, port, show)
