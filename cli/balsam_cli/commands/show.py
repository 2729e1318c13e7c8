"""`balsam show`: one job."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from balsam_cli import options
from balsam_cli.command import Command

if TYPE_CHECKING:
    from balsam.client import Client

_FACTS = [
    "name",
    "workflow",
    "state",
    "message",
    "application",
    "command",
    "working_directory",
    "description",
    "data",
    "environ_vars",
    "input_files",
    "stage_in_url",
    "stage_out_url",
    "stage_out_files",
    "exit_code",
    "attempt",
    "owner",
    "create_time",
]
_ALWAYS = {"name", "workflow", "state", "command", "working_directory", "create_time"}
_SHOWN_RELATIVES = 20


@click.command(cls=Command)
@click.argument("job", metavar="ID")
@click.option("--field", metavar="F", help="Print the value of this field only, without its name.")
@options.as_json
def command(job: str, field: str | None, as_json: bool) -> None:
    """Show one job: every field, history, parents, children, command, working directory.

    \b
      balsam show 3fa8
      balsam show 3fa8 --field working_directory
    """
    from balsam_cli import access, listing, output, records, selection, terminal

    store = access.open_store()
    (job_id,) = selection.find_ids(store, [job])
    record = records.job_record(store.jobs.get(job_id))
    relatives = [selection.test("children", "EXACT", job_id)], [selection.test("parents", "EXACT", job_id)]
    parents, children = (
        list(selection.list_jobs(store, where, fields=("name", "state", "workflow"))) for where in relatives
    )
    record |= {
        "command": _command(store, record),
        "history": listing.history_of(store, [job_id])[job_id],
        "children": [child["job_id"] for child in children],
    }
    if field is not None:
        _print_field(record, field.replace("-", "_"), as_json)
        return
    blocks: list[output.Block] = [output.Facts(_facts(record))]
    for title, found in (("Parents", parents), ("Children", children)):
        if found:
            blocks.append(output.Lines(_relatives(found), title=title))
    blocks.append(output.Listing(records.HISTORY_COLUMNS, record["history"], title="History"))
    output.printer(as_json).one(record, *blocks)
    if not as_json and (text := _next(record)):
        terminal.hint(text)


def _next(record: dict[str, Any]) -> str:
    """What is useful next."""
    from balsam.states import END, State

    state, short = State[record["state"]], record["job_id"][:8]
    if state is State.RUNNING:
        return f"`balsam logs -f {short}` follows its output"
    if state in END:
        return f"`balsam logs {short}` shows what it wrote" if record["attempt"] else ""
    return f"`balsam why {short}` says what it waits for"


def _print_field(record: dict[str, Any], name: str, as_json: bool) -> None:
    import json

    from balsam.errors import ValidationError
    from balsam_cli.text import printable

    if name not in record:
        raise ValidationError(f"{name!r} is not a field of a job (fields: {', '.join(record)})", field="field")
    value = record[name]
    if as_json or not isinstance(value, str):
        click.echo(json.dumps(value))
    else:
        # To a script as it is; what a person sees must not steer the terminal.
        click.echo(printable(value) if sys.stdout.isatty() else value)


def _command(store: Client, record: dict[str, Any]) -> str:
    """The command line of a job, before anything in it is expanded."""
    from balsam.errors import NotFound

    if not record["application"]:
        return str(record["args"])
    try:
        executable = store.applications.get(record["application"])["executable"]
    except NotFound:
        executable = f"<{record['application']}>"
    return f"{executable} {record['args']}".rstrip()


def _facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    """The fields worth a line: those that say what it is, and all that are not at their defaults."""
    from balsam.fields import JOB_FIELDS
    from balsam_cli.text import local_time, parse_time

    hidden = {"job_id", "parents", "revision", "leased"}
    names = [*_FACTS, *(name for name in JOB_FIELDS if name not in _FACTS and name not in hidden)]
    facts = [("id", str(record["job_id"]))]
    for name in names:
        value = record[name]
        default = JOB_FIELDS[name].default if name in JOB_FIELDS else ""
        if name == "create_time":
            value = local_time(parse_time(value))
        if name in _ALWAYS or (value != default and value not in ("", None)):
            facts.append((name.replace("_", " "), _text(value)))
    return facts


def _text(value: Any) -> str:
    import json

    if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return "\n".join(f"{key}={shlex.quote(item)}" for key, item in value.items())
    return json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)


def _relatives(jobs: list[dict[str, Any]]) -> list[str]:
    lines = [f"{job['job_id'][:8]}  {job['state']:16}  {job.get('name') or 'job'}" for job in jobs[:_SHOWN_RELATIVES]]
    more = len(jobs) - _SHOWN_RELATIVES
    return [*lines, f"... {more:,} more"] if more > 0 else lines
