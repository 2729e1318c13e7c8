"""`balsam ls`: lists jobs, applications, workflows, launches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from balsam_cli import options
from balsam_cli.command import Command, WordsOption
from balsam_cli.terminal import note

if TYPE_CHECKING:
    from balsam_cli import listing

WHAT = ("jobs", "apps", "wf", "launches")
_OLD = {"queues": "launches"}
"""Words of Balsam 0.x, and what is written now."""


class _What(click.Choice):  # type: ignore[type-arg,unused-ignore]
    """What is listed, by its name of now or of 0.x."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The name of now."""
        if value in _OLD:
            note(f"note: `balsam ls {value}` is `balsam ls {_OLD[value]}` now")
            value = _OLD[value]
        return super().convert(value, param, ctx)


@click.command(cls=Command)
@click.argument("what", type=_What(WHAT), default="jobs", metavar="[jobs|apps|wf|launches]")
@click.option("--name", metavar="S", help="With this name: exact, or a glob with * or ?.")
@click.option("--id", "ids", cls=WordsOption, metavar="ID...", help="With these ids, or starts of ids.")
@options.workflow
@click.option("--state", "states", cls=WordsOption, metavar="S...", help="In this state, or one of these.")
@click.option("--by-states", is_flag=True, help="Count jobs by state.")
@click.option("--tree", is_flag=True, help="Show what waits for what.")
@click.option("--history", is_flag=True, help="Show each job's history.")
@click.option("--verbose", "-v", is_flag=True, help="More columns.")
@click.option("--limit", type=click.IntRange(0, 2**31 - 1), metavar="N", help="At most N; tables show 100 without it.")
@click.option("--watch", is_flag=True, help="Stay, and show changes as they come.")
@options.as_json
def command(what: str, watch: bool, as_json: bool, **given: Any) -> None:
    """List jobs (the default), applications (apps), workflows (wf) or batch launches (launches).

    BALSAM_LS_FIELDS=a:b adds columns, by the names of a job's fields.

    \b
      balsam ls --wf 'scan*' --state FAILED
      balsam ls --by-states
      balsam ls --watch
      balsam ls wf
    """
    from balsam_cli import access, listing, output

    wanted = listing.Wanted(**given)
    _refuse_what_does_not_apply(what, wanted, watch)
    if sum((wanted.tree, wanted.history, watch)) > 1:
        raise click.UsageError("--tree, --history and --watch exclude each other")
    if watch and as_json:
        raise click.UsageError("--watch is for people: not together with --json")
    store = access.open_store()
    printer = output.printer(as_json)
    if watch:
        from balsam_cli.live import watch_jobs

        watch_jobs(store, wanted)
    elif what == "apps":
        listing.list_applications(store, wanted, printer)
    elif what == "launches":
        listing.list_launches(store, wanted, printer)
    elif wanted.by_states:
        listing.count_states(store, wanted, printer)
    elif what == "wf":
        listing.list_workflows(store, wanted, printer)
    else:
        listing.list_jobs(store, wanted, printer, as_json)


def _refuse_what_does_not_apply(what: str, wanted: listing.Wanted, watch: bool) -> None:
    """No option is left out of account in silence.

    Raises:
        UsageError: one has no meaning for what is listed.
    """
    for option, value in (("tree", wanted.tree), ("history", wanted.history), ("watch", watch)):
        if value and (what != "jobs" or wanted.by_states):
            raise click.UsageError(f"--{option} is for lists of jobs")
    if wanted.by_states and what != "jobs":
        raise click.UsageError("--by-states is for lists of jobs")
    if wanted.by_states and wanted.limit is not None:
        raise click.UsageError("--limit: --by-states counts all jobs that match")
    for option, chosen in (("name", wanted.name), ("id", wanted.ids), ("wf", wanted.workflow)):
        if chosen and what == "launches":
            raise click.UsageError(f"--{option}: launches have none; choose them with --state")
    for option, chosen in (("id", wanted.ids), ("wf", wanted.workflow), ("state", wanted.states)):
        if chosen and what == "apps":
            raise click.UsageError(f"--{option}: applications have none; choose them with --name")
