"""`balsam rm`: deletes jobs or applications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from balsam_cli import options
from balsam_cli.command import Command, WordsOption

if TYPE_CHECKING:
    from balsam_cli.outcome import Outcome


@click.command(cls=Command)
@click.argument("what", type=click.Choice(("jobs", "apps")), metavar="jobs|apps")
@click.option("--id", "ids", cls=WordsOption, metavar="ID...", help="Jobs with these ids, or starts of ids.")
@click.option("--name", metavar="S", help="With this name: exact, or a glob with * or ?.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@options.workflow
@click.option("--kill", is_flag=True, help="Running jobs too: their processes are stopped.")
@click.option("--workdirs", is_flag=True, help="Remove the working directories too.")
@options.yes
@options.as_json
def command(what: str, workdirs: bool, kill: bool, yes: bool, as_json: bool, **selected: Any) -> int:
    """Delete jobs or applications, after a question that says how many.

    Say which by --id, --name, --wf or --all. Working directories stay unless
    --workdirs is given. Applications that unfinished jobs use stay.

    \b
      balsam rm jobs --name 'test-*'
      balsam rm jobs --wf scan --workdirs --yes
      balsam rm apps --name greet
    """
    from balsam_cli import access, output

    _check_selection(what, kill or workdirs, **selected)
    store = access.open_store()
    if what == "apps":
        from balsam_cli.removal import remove_applications

        result: Outcome = remove_applications(store, selected["name"], yes)
    else:
        from balsam_cli.removal import remove_jobs

        result = remove_jobs(
            store, selected["ids"], selected["name"], selected["workflow"], kill=kill, workdirs=workdirs, yes=yes
        )
    return result.report(output.printer(as_json), "deleted", "job" if what == "jobs" else "application")


def _check_selection(
    what: str, for_jobs: bool, ids: tuple[str, ...], name: str | None, everything: bool, workflow: str | None
) -> None:
    said = bool(ids) + (name is not None) + everything
    if said > 1 or not (said or workflow is not None):
        raise click.UsageError("say which: one of --id, --name or --all, or --wf, which also narrows these down")
    if what == "apps" and (ids or workflow is not None or for_jobs):
        raise click.UsageError("applications are deleted by --name or --all; the other options are for jobs")
