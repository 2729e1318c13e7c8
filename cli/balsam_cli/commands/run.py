"""`balsam run`: one command as a job, from nothing."""

from __future__ import annotations

from typing import Any

import click

from balsam_cli.command import CommandOfWords
from balsam_cli.job_options import given_fields, job_options


@click.command(cls=CommandOfWords)
@click.argument("words", nargs=-1, required=True, metavar="[--] COMMAND...")
@job_options(without=("application", "args", "job_id", "queued_launch"))
def command(words: tuple[str, ...], **given: Any) -> int:
    """Run COMMAND as a job, from nothing, and exit with its exit code.

    Finds the site (BALSAM_DB_PATH, the nearest, else one in your data directory,
    made when needed), starts what is missing and leaves the services up. Only the
    job's output goes to stdout; its standard input is empty, whatever is piped to
    this command. A relative path as first word is taken from the current directory;
    the job runs in its working directory.

    \b
      balsam run -- echo hello
      balsam run --ranks-per-node 2 -- ./simulate input.dat
    """
    fields = given_fields(given)
    from balsam_cli.one_job import run_one

    return run_one(fields, words)
