"""`balsam log`: the logs of services and launchers."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from balsam.site import find_site
from balsam_cli.command import Command
from balsam_cli.tail import Tail, last_lines
from balsam_cli.terminal import note
from balsam_cli.text import printable


@click.command(cls=Command)
@click.option("--follow", "-f", is_flag=True, help="Go on as the logs grow, until interrupted.")
@click.option("--lines", "-n", type=click.IntRange(0), default=20, metavar="N", help="Last lines of each; default 20.")
@click.option("--name", metavar="S", help="Only logs whose name starts so: jobstore, scheduler, launcher.")
def command(follow: bool, lines: int, name: str | None) -> None:
    """Show the logs of the services and launchers of the site."""
    site = find_site()
    files = sorted(file for file in site.log.glob("*.log") if file.name.startswith(name or ""))
    if not files:
        known = ", ".join(sorted(file.stem for file in site.log.glob("*.log"))) or "none"
        note(f"no such log in {site.log} (there are: {known})")
        return
    tails = {}
    for file in files:
        tails[file] = Tail(file, file.stat().st_size)
        _show(file, last_lines(file, lines))
    while follow:
        for file, tail in tails.items():
            _show(file, tail.text())
        Tail.wait()


def _show(file: Path, text: str) -> None:
    if text:
        sys.stdout.write(f"==> {file.name} <==\n{printable(text.rstrip())}\n\n")
        sys.stdout.flush()
