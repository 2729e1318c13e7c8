"""`balsam logs`: the output of a job."""

from __future__ import annotations

import click

from balsam_cli import options
from balsam_cli.command import Command


@click.command(cls=Command)
@click.argument("job", metavar="ID")
@click.option("--follow", "-f", is_flag=True, help="Go on as the output grows, until the job ends.")
@options.as_json
def command(job: str, follow: bool, as_json: bool) -> int | None:
    """Print the output of a job, byte for byte: what its run wrote to stdout and stderr.

    With --json it is one text, of which at most the last megabyte is shown.

    \b
      balsam logs 3fa8
      balsam logs -f 3fa8
    """
    if follow and as_json:
        raise click.UsageError("--follow is for people: not together with --json")

    from balsam.states import END, State
    from balsam_cli import access, output, selection, terminal
    from balsam_cli import follow as following

    store = access.open_store()
    (job_id,) = selection.find_ids(store, [job])
    values = store.jobs.get(job_id)
    file = following.output_file(values)
    if as_json:
        output.JsonPrinter().one(following.output_record(values, file))
        return None if file.exists() else 1
    if follow and State[values["state"]] not in END:
        end = following.JobEnd(store, job_id)
        try:
            following.copy_output(file, end.wait)
        finally:
            end.close()
        values = end.job
    elif file.exists():
        following.copy_output(file, lambda _: True)
    if file.exists():
        return None
    terminal.note(f"no output: {following.why_no_output(values, file)}")
    return 1
