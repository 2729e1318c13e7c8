"""`balsam archive`: moves old jobs to a file."""

from __future__ import annotations

import click

from balsam_cli import options
from balsam_cli.command import Command


@click.command(cls=Command)
@click.argument("file")
@click.option("--older-than", "age", metavar="AGE", required=True, help="Whose last event is older: 90d, 12h, 1d12h.")
@options.workflow
@options.yes
@options.as_json
def command(file: str, age: str, workflow: str | None, yes: bool, as_json: bool) -> int:
    """Move jobs that ended long ago to FILE, after a question that says how many.

    Jobs on which others depend that stay are kept, too. Nothing is deleted
    before FILE is on the disk, has been read back, and was found to be what is
    here. Working directories stay. `balsam import FILE` brings the jobs back.

    If FILE exists, an archive that was cut off is completed: what it holds is
    deleted here, and nothing is added to it.

    \b
      balsam archive --older-than 90d old.jsonl.gz
      balsam archive --older-than 12h --wf scan scan.jsonl.gz --yes
    """
    from pathlib import Path

    from balsam.v1.archive_service_pb2 import ExportJobsRequest
    from balsam_cli import access, archive, output, selection, terminal
    from balsam_cli.text import parse_age

    seconds = parse_age(age, "--older-than")
    request = ExportJobsRequest(workflow=workflow or "", older_than_seconds=seconds)
    store = access.open_store()
    result = archive.archive(store, Path(file), request, age, yes, quiet=as_json)
    if (
        workflow is not None
        and not result.asked
        and not selection.count_jobs(store, selection.job_conditions(workflow=workflow))
    ):
        terminal.note(f"note: {selection.why_none(store, None, workflow)}")
    status = result.report(output.printer(as_json))
    if result.archived and not as_json:
        terminal.hint(f"`balsam import {file}` brings them back")
    return status
