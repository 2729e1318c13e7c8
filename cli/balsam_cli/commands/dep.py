"""`balsam dep`: makes a job wait for another."""

from __future__ import annotations

import click

from balsam_cli import options
from balsam_cli.command import Command


@click.command(cls=Command)
@click.argument("parent")
@click.argument("child")
@options.as_json
def command(parent: str, child: str, as_json: bool) -> None:
    """Make the job CHILD wait for the job PARENT.

    \b
      balsam dep 3fa8 77c1
    """
    from balsam_cli import access, output, selection, terminal

    store = access.open_store()
    parent_id, child_id = (selection.find_ids(store, [prefix])[0] for prefix in (parent, child))
    store.jobs.add_dependency(parent_id, child_id)
    output.printer(as_json).one(
        {"parent_id": parent_id, "child_id": child_id},
        output.Lines([f"{child_id[:8]} waits for {parent_id[:8]}"]),
    )
    if not as_json:
        terminal.hint("`balsam ls --tree` shows what waits for what")
