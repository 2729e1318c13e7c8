"""`balsam import`: takes jobs from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from balsam_cli import options
from balsam_cli.command import Command

if TYPE_CHECKING:
    from balsam.v1.archive_service_pb2 import ImportJobsResponse


@click.command(cls=Command)
@click.argument("file")
@options.as_json
def command(file: str, as_json: bool) -> int:
    """Take jobs, applications, launches and history from FILE.

    FILE was written by `balsam export` or `balsam archive`, here or elsewhere.
    All of it is checked first: if it is damaged, or something in it cannot be
    taken, nothing is. Jobs that are here already stay as they are, so an
    import that was cut off is simply done again.

    \b
      balsam import campaign.jsonl.gz
    """
    from balsam_cli import access, moving
    from balsam_cli.output import Lines, printer
    from balsam_cli.terminal import note

    store = access.open_store()
    path = Path(file)
    checked = moving.import_file(store, path, validate_only=True, quiet=as_json)
    done = checked if checked.refused else moving.import_file(store, path, validate_only=False, quiet=as_json)
    record = {
        "file": str(path.absolute()),
        "created": 0 if checked.refused else done.created,
        "existing": done.existing,
        "applications": 0 if checked.refused else done.applications,
        "launches": 0 if checked.refused else done.launches,
        "refused": done.refused,
        "reasons": [{"id": r.job_id, "line": r.index, "reason": r.reason, "message": r.message} for r in done.refusals],
    }
    line = "nothing was imported" if checked.refused else _summary(done)
    printer(as_json).one(record, Lines([line]))
    for refusal in done.refusals[:10]:
        note(f"balsam: {refusal.message}")
    if done.refused > 10:
        note(f"... {done.refused - 10:,} more were refused")
    return 1 if done.refused else 0


def _summary(done: ImportJobsResponse) -> str:
    from balsam_cli.text import count

    also = [
        count(number, noun)
        for number, noun in ((done.applications, "application"), (done.launches, "launch record"))
        if number
    ]
    there = f"; {count(done.existing, 'job')} {'was' if done.existing == 1 else 'were'} here already"
    return f"imported {', '.join([count(done.created, 'job'), *also])}{there if done.existing else ''}"
