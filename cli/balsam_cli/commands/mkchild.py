"""`balsam mkchild`: adds a job that waits for the current one."""

from __future__ import annotations

import os
from typing import Any

import click

from balsam.errors import NotAllowed
from balsam_cli import options
from balsam_cli.command import CommandAfterDashes
from balsam_cli.commands.job import add_jobs, with_command
from balsam_cli.job_options import given_fields, job_options


@click.command(cls=CommandAfterDashes)
@click.argument("words", nargs=-1, metavar="[-- COMMAND...]")
@click.option("--array", metavar="0-99", help="One job for each index; {i} is replaced in name and args.")
@job_options()
@options.yes
@options.as_json
def command(words: tuple[str, ...], array: str | None, yes: bool, as_json: bool, **given: Any) -> None:
    """Add a job that waits for the current one, from inside its run or scripts.

    As `balsam job`, with the current job (BALSAM_JOB_ID) as parent.

    \b
      balsam mkchild --name fit --app fit
      balsam mkchild --name part-{i} --array 0-9 -- ./part {i}
    """
    from balsam.commands import ENV_JOB_ID

    fields = with_command(given_fields(given), words)
    current = os.environ.get(ENV_JOB_ID)
    if not current:
        raise NotAllowed(
            f"{ENV_JOB_ID} is not set: mkchild works inside a job; elsewhere use `balsam job --parents ID`"
        )
    fields["parents"] = [current, *fields.get("parents", ())]
    add_jobs(fields, array, yes, as_json)
