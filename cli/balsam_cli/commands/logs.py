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

    While a job runs where the file cannot be seen from here, its launcher sends
    it. With --json it is one text, of which at most the last megabyte is shown.

    \b
      balsam logs 3fa8
      balsam logs -f 3fa8
    """
    if follow and as_json:
        raise click.UsageError("--follow is for people: not together with --json")

    from balsam.states import END, State
    from balsam_cli import access, job_output, output, selection, terminal
    from balsam_cli.follow import JobEnd

    store = access.open_store()
    (job_id,) = selection.find_ids(store, [job])
    values = store.jobs.get(job_id)
    if as_json:
        record = job_output.output_record(store, values)
        output.JsonPrinter().one(record)
        return None if record["output"] is not None else 1
    found = job_output.JobOutput(store, values)
    if follow and State[values["state"]] not in END:
        end = JobEnd(store, job_id)
        follower = job_output.Follower(found, lambda: end.changes)
        try:
            job_output.copy_output(follower.pieces, end.wait)
        finally:
            end.close()
        values = end.job
        if follower.is_cut:
            terminal.note(
                f"the rest of the output was not read before the job ended: it is in {found.path}, where it ran"
            )
            return 1
    else:
        job_output.write(job_output.there_is(found, values))
    if found.is_anywhere:
        return None
    terminal.note(f"no output: {job_output.why_no_output(values, found)}")
    return 1
