"""`balsam app`: registers an application."""

from __future__ import annotations

import shlex

import click

from balsam_cli import options
from balsam_cli.command import Command, WordsOption


@click.command(cls=Command)
@click.option("--name", required=True, metavar="N", help="Unique name; jobs name their application by it.")
@click.option("--executable", metavar="E", help="First part of the command line: a path, or a path with arguments.")
@click.option("--preprocess", metavar="P", help="Command run in a job's working directory before its first run.")
@click.option("--postprocess", metavar="P", help="Command run in the working directory after the run.")
@click.option("--envscript", metavar="S", help="Bash script sourced before the application starts.")
@click.option("--description", cls=WordsOption, metavar="WORD...", help="Free text.")
@click.option("--update", is_flag=True, help="Change an application that exists; only what is given changes.")
@options.as_json
def command(name: str, update: bool, as_json: bool, description: tuple[str, ...], **given: str | None) -> None:
    """Register an application: an executable, with the scripts around it.

    \b
      balsam app --name greet --executable "/bin/echo Hello"
    """
    from balsam.errors import ValidationError
    from balsam.fields import APPLICATION_FIELDS
    from balsam_cli import access, applications, output, records, terminal

    values = {key: value for key, value in given.items() if value is not None}
    if description:
        values["description"] = " ".join(description)
    fields = {key: APPLICATION_FIELDS[key].check(value) for key, value in {"name": name, **values}.items()}
    if update and not values:
        raise click.UsageError("--update needs a field to change")
    if not update and not fields.get("executable"):
        raise ValidationError("an application needs --executable", field="executable")
    store = access.open_store()
    if update:
        application = store.applications.update(name, applications.absolute({key: fields[key] for key in values}))
    else:
        application = applications.create(store, fields)
    record = records.application_record(application)
    done = "Changed" if update else "Registered"
    output.printer(as_json).one(record, output.Lines([f"{done} {name}: {record['executable']}"]))
    if not as_json:
        terminal.hint(f"`balsam job --name NAME --app {shlex.quote(name)} --args ...` adds a job of it")
