"""`balsam top`: a site on the whole screen."""

from __future__ import annotations

import os

import click

from balsam_cli import options
from balsam_cli.command import Command


@click.command(cls=Command)
@options.workflow
def command(workflow: str | None) -> None:
    """Watch the site on the whole screen: states, runs, failures, launches, and who is at work.

    / shows one workflow only, s sorts the runs, Enter or o opens the output of the
    job under the cursor, k kills it after a question, Tab goes to the next table,
    q ends.

    \b
      balsam top
      balsam top --wf 'scan*'
    """
    from balsam.errors import NotAllowed
    from balsam_cli import access, terminal

    if not terminal.interactive() or os.environ.get("TERM", "dumb") == "dumb":
        raise NotAllowed(
            "`balsam top` draws on a whole terminal, and this is none; "
            "`balsam status` and `balsam ls --by-states` print the same"
        )
    store = access.open_store()
    from balsam_cli.top.screen import Top

    error = Top(store, workflow or "").run()
    if error is not None:
        raise error
