"""`balsam failures`: failed jobs by what made them fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from balsam_cli import options
from balsam_cli.command import Command

if TYPE_CHECKING:
    from balsam.client import Client
    from balsam_cli import output
    from balsam_cli.failures.grouping import Group
    from balsam_cli.outcome import Outcome


@click.command(cls=Command)
@options.workflow
@click.option("--retry", metavar="GROUP", help="Do again what failed of the jobs of this group.")
@options.as_json
def command(workflow: str | None, retry: str | None, as_json: bool) -> int:
    """Show failed jobs grouped by cause: application, exit code or signal, and the last line of the output.

    Numbers, ids and directories in the messages do not count. Each group has a
    name, which --retry takes, an example, and the nodes where its runs failed.

    \b
      balsam failures --wf scan
      balsam failures --retry 5f0c
    """
    from balsam_cli import access, output, terminal

    store = access.open_store()
    groups = _groups(store, workflow)
    printer = output.printer(as_json)
    if retry is not None:
        return _retry(store, groups, retry).report(printer, "reset", "job")
    if groups or as_json:
        printer.rows(output.Listing(_columns(groups), [one.record() for one in groups]))
        if groups and not as_json:
            example = str(groups[0].example["job_id"])[:8]
            terminal.hint(
                f"`balsam failures --retry {groups[0].name}` runs a group again, "
                f"`balsam logs {example}` shows what its example wrote"
            )
    else:
        click.echo("No job has failed.")
        _say_if_misspelled(store, workflow)
    return 0


def _say_if_misspelled(store: Client, workflow: str | None) -> None:
    """That no failure was found may also mean that there is no such workflow."""
    from balsam_cli import selection
    from balsam_cli.terminal import note

    if workflow is not None and not selection.count_jobs(store, selection.job_conditions(workflow=workflow)):
        note(selection.why_none(store, None, workflow))


def _groups(store: Client, workflow: str | None) -> list[Group]:
    from balsam_cli import selection
    from balsam_cli.failures.grouping import FIELDS, group

    where = selection.job_conditions(workflow=workflow, states=["FAILED"])
    return group(selection.list_jobs(store, where, fields=FIELDS))


def _columns(groups: list[Group]) -> list[output.Column]:
    from balsam_cli.output import Column

    where = {one.name: one.where for one in groups}
    return [
        Column("GROUP", lambda record: str(record["group"])),
        Column("JOBS", lambda record: f"{record['jobs']:,}", right=True),
        Column("APPLICATION", lambda record: str(record["application"]), flexible=True),
        Column("CAUSE", lambda record: str(record["cause"]), flexible=True),
        Column("SAID LAST", lambda record: str(record["said"]), flexible=True),
        *([Column("NODE", lambda record: where[record["group"]])] if any(where.values()) else []),
        Column("EXAMPLE", lambda record: str(record["example"])[:8]),
    ]


def _retry(store: Client, groups: list[Group], name: str) -> Outcome:
    """Resets the jobs of a group, each to where it is done again from.

    Raises:
        NotFound: there is no such group, or several names begin so.
        NotAllowed: its jobs failed because of their parents.
    """
    from balsam.errors import NotAllowed, NotFound
    from balsam_cli.failures.resetting import reset

    found = [one for one in groups if name and one.name.startswith(name.lower())]
    names = ", ".join(one.name for one in found or groups) or "none"
    if len(found) > 1:
        raise NotFound(f"{name!r} could be {names}; give more of the name")
    if not found:
        raise NotFound(f"no group of failed jobs is named {name!r} (groups: {names})")
    if found[0].by_parent:
        raise NotAllowed(f"the jobs of group {found[0].name} failed because of their parents: reset those")
    return reset(store, found[0].job_ids)
