"""`balsam export`: writes jobs with their history to a file."""

from __future__ import annotations

from pathlib import Path

import click

from balsam_cli import options
from balsam_cli.command import Command

COUNTS = ("jobs", "events", "edges", "applications", "launches")


@click.command(cls=Command)
@click.argument("file")
@options.workflow
@options.yes
@options.as_json
def command(file: str, workflow: str | None, yes: bool, as_json: bool) -> None:
    """Write jobs, applications, launches and all history to FILE.

    JSON lines, with the end marked, so that a file that was cut off is
    noticed; compressed if the name ends in .gz; `-` is stdout. With --wf only
    the jobs of that workflow, and those that they depend on. It shows the site
    at one moment, and work may go on meanwhile.

    \b
      balsam export campaign.jsonl.gz
      balsam export --wf scan - | wc -l
    """
    from balsam.v1.archive_service_pb2 import ExportJobsRequest
    from balsam_cli import access, moving, output, selection, terminal
    from balsam_cli.text import count

    if file == moving.STDOUT and as_json:
        raise click.UsageError("with - the file itself goes to stdout, so --json is not possible")
    store = access.open_store()
    request = ExportJobsRequest(workflow=workflow or "")
    if file == moving.STDOUT:
        account = moving.export_to_stdout(store, request)
    else:
        path = Path(file)
        if path.is_file():
            terminal.must_agree(f"{path} exists. Replace it?", yes, f"replacing {path}")
        account = moving.export(store, path, request, quiet=as_json)
    text = f"exported {count(account['jobs'], 'job')} with {count(account['events'], 'event')}"
    if workflow is not None and not account["jobs"]:
        terminal.note(f"note: {selection.why_none(store, None, workflow)}")
    if file == moving.STDOUT:
        terminal.note(text)
        return
    receipt = {name: account[name] for name in (*COUNTS, "sha256", "sequence", "time")}
    output.printer(as_json).one({"file": str(path.absolute()), **receipt}, output.Lines([f"{text} to {path}"]))
