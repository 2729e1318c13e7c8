"""`balsam job`: adds a job, or many."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from balsam.errors import ValidationError
from balsam.fields import JOB_FIELDS
from balsam_cli import options
from balsam_cli.command import CommandAfterDashes
from balsam_cli.job_options import given_fields, job_options


@click.command(cls=CommandAfterDashes)
@click.argument("words", nargs=-1, metavar="[-- COMMAND...]")
@click.option("--file", "file", metavar="F", help="Add the [[app]] and [[job]] tables of a TOML, YAML or JSON file.")
@click.option("--array", metavar="0-99", help="One job for each index; {i} is replaced in name and args.")
@job_options()
@options.yes
@options.as_json
def command(
    words: tuple[str, ...], file: str | None, array: str | None, yes: bool, as_json: bool, **given: Any
) -> None:
    """Add a job and print its id.

    On a terminal it is shown first, with a question, unless --yes is given.

    \b
      balsam job --name hello --workflow test --app greet --args world --ranks-per-node 2
      balsam job --name scan-{i} --workflow scan --array 0-99 --app sim --args --seed={i}
      balsam job --name list --workflow test -- ls -l
      balsam job --file campaign.toml
    """
    fields = given_fields(given)
    if file is not None:
        if fields or words or array:
            raise click.UsageError("--file takes its jobs from the file: no other fields, --array or command beside it")
        add_file(Path(file), yes, as_json)
        return
    add_jobs(with_command(fields, words), array, yes, as_json)


def with_command(fields: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """The fields of a job that runs a command of its own, or as they are when there is none.

    Raises:
        ValidationError: there are an application or args beside the command.
    """
    if not words:
        return fields
    if fields.get("application") or fields.get("args"):
        raise ValidationError("a command after `--` stands in place of --application and --args; give one or the other")
    return fields | {"args": JOB_FIELDS["args"].check(shlex.join(words))}


_USUAL = {"input_files": "*"}
"""On the command line, children get all of their parents' files unless told otherwise."""


def add_jobs(fields: dict[str, Any], array: str | None, yes: bool, as_json: bool) -> None:
    """Adds the job, or one for each index of `array`, after a question where somebody is there to answer it.

    Raises:
        ValidationError: a value does not fit, or one id is to be that of an array.
    """
    from balsam.commands import ENV_JOB_ID
    from balsam_cli import access, arrays, new_jobs, output, selection, terminal

    fields = _USUAL | fields
    if array is not None and "job_id" in fields:
        raise ValidationError("--job-id names one job: not together with --array", field="job_id")
    jobs = list(arrays.expand(fields, arrays.indexes(array))) if array is not None else [fields]
    for job in jobs[:1] + jobs[-1:]:
        for name in ("name", "args"):
            JOB_FIELDS[name].check(job.get(name, ""))
    store = access.open_store()
    if fields.get("parents"):
        parents = selection.find_ids(store, fields["parents"])
        jobs = [job | {"parents": parents} for job in jobs]
    _agree(jobs, yes)
    ids = new_jobs.add(store, jobs, quiet=as_json)
    output.printer(as_json).ids(ids)
    if not os.environ.get(ENV_JOB_ID) and not new_jobs.warn_if_nobody_takes(store, jobs[:1]) and not as_json:
        terminal.hint(new_jobs.hint_of(ids))


def _agree(jobs: Sequence[dict[str, Any]], yes: bool) -> None:
    """Asks on a terminal; elsewhere adding just adds."""
    from balsam_cli import output, terminal
    from balsam_cli.text import count

    if yes or not terminal.interactive():
        return
    usual = {name: field.default for name, field in JOB_FIELDS.items()} | _USUAL
    shown = [(name, shown_value(value)) for name, value in jobs[0].items() if value != usual[name]]
    title = "" if len(jobs) == 1 else f"The first of {count(len(jobs), 'job')}:"
    output.TablePrinter().one({}, output.Facts(shown, title=title))
    terminal.must_agree(f"Add {'this job' if len(jobs) == 1 else 'these jobs'}?", yes, "adding jobs")


def shown_value(value: Any) -> str:
    """A field's value as people read it."""
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def add_file(path: Path, yes: bool, as_json: bool) -> None:
    """Adds the applications and jobs of a file, all or nothing."""
    from balsam_cli import access, applications, job_file, new_jobs, output, terminal
    from balsam_cli.text import count

    content = job_file.read(path)
    store = access.open_store()
    if terminal.interactive() and not yes:
        what = f"{count(len(content.applications), 'application')} and {count(len(content.jobs), 'job')}"
        terminal.must_agree(f"Add {what}?", yes, "adding jobs")
    with applications.added(store, content.applications):
        if content.jobs:
            new_jobs.add(store, content.jobs, quiet=as_json)
    output.printer(as_json).ids(content.order)
    if content.jobs and not new_jobs.warn_if_nobody_takes(store, content.jobs) and not as_json:
        terminal.hint(new_jobs.hint_of(content.order))
