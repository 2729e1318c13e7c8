"""`balsam activate`: points a shell at a site."""

from __future__ import annotations

import re
import shlex
import sys

import click

from balsam.site import ENV_SITE
from balsam_cli import known_sites, options
from balsam_cli.command import Command
from balsam_cli.output import JsonPrinter
from balsam_cli.terminal import note


@click.command(cls=Command)
@click.argument("site")
@click.option("--prompt", is_flag=True, help="Show the site's name in the shell's prompt (bash, zsh).")
@options.as_json
def command(site: str, prompt: bool, as_json: bool) -> None:
    """Print the shell lines that point a shell at SITE, a known name or a path.

    
      eval "$(balsam activate campaign)"
      eval "$(balsam activate --prompt ~/campaign)"
    """
    found = known_sites.named(site)
    if as_json:
        JsonPrinter().one({"name": found.name, "path": str(found.path), "environment": {ENV_SITE: str(found.path)}})
        return
    click.echo(f"export {ENV_SITE}={shlex.quote(str(found.path))}")
    if prompt:
        # A prompt is expanded each time it is shown: only harmless characters go in.
        shown = re.sub(r"[^\w.-]", "_", found.name, flags=re.ASCII)
        click.echo('BALSAM_OLD_PS1="${BALSAM_OLD_PS1-${PS1-}}"')
        click.echo(f'PS1="[{shown}] $BALSAM_OLD_PS1"')
    if sys.stdout.isatty():
        note(f'to use it: eval "$(balsam activate {shlex.quote(site)})"')
