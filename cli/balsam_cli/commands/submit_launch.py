"""`balsam submit-launch`: gives a launcher to the batch system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from balsam_cli import options
from balsam_cli.command import Command

if TYPE_CHECKING:
    from balsam.client import Client
    from balsam.site import Site
    from balsam_scheduler.batch.submitting import LaunchRequest


@click.command(cls=Command)
@click.option("--nodes", "-n", type=click.IntRange(1), required=True, metavar="N", help="Number of nodes.")
@click.option(
    "--wall-minutes",
    "--time-minutes",
    "-t",
    "wall_minutes",
    type=click.IntRange(1),
    required=True,
    metavar="M",
    help="Time limit [min].",
)
@click.option("--queue", "-q", metavar="Q", default="", help="Queue or partition; default: the batch system's.")
@click.option("--project", "-A", metavar="P", default="", help="Project to charge; default: the batch system's.")
@click.option(
    "--job-mode",
    type=click.Choice(("auto", "mpi", "serial")),
    default="auto",
    help="Mode of its launcher; see `balsam launcher --help`.",
)
@options.wf_filter
@click.option("--prescheduled-only", is_flag=True, help="Take only the jobs that are bound to this launch.")
@click.option("--sched-flags", metavar="F", default="", help="More options of sbatch, qsub, bsub or flux batch.")
@click.option("--dry-run", is_flag=True, help="Print the script that would be submitted, and submit nothing.")
@options.as_json
def command(dry_run: bool, as_json: bool, **wanted: Any) -> int:
    """Submit a launch: a launcher on nodes of the batch system, which runs the jobs of this site.

    The script is made from SITE/templates/SYSTEM.sh and kept in SITE/qsubmit; its
    output comes to lie beside it. The setting batch_system says which system it is.

    \b
      balsam submit-launch -n 4 -t 60 -q debug -A climate --wf-filter scan
    """
    from balsam.site import find_site
    from balsam_scheduler.batch.submitting import LaunchRequest

    site, request = find_site(), LaunchRequest(**wanted)
    _warn_of_little_time(site, request.wall_minutes)
    return _show(site, request, as_json) if dry_run else _submit(site, request, as_json)


def _warn_of_little_time(site: Site, minutes: int) -> None:
    """Says when hardly any job can start in so short a launch."""
    from balsam_cli.terminal import note
    from balsam_scheduler.batch.observing import spare_minutes

    margin = site.settings.stop_margin_seconds
    least = spare_minutes(margin) + 1
    if minutes < least:
        note(
            f"note: --wall-minutes {minutes}: the launcher stops {margin:g} s before the end (stop_margin_seconds), "
            f"and starts no job in its last minute but those with wall_time_minutes = 0; give {least} or more"
        )


def _show(site: Site, request: LaunchRequest, as_json: bool) -> int:
    """Prints the script, and on stderr the command that would submit it."""
    import shlex

    from balsam_cli import output
    from balsam_cli.terminal import note
    from balsam_scheduler.batch.submitting import rehearse

    submission, words = rehearse(site, request)
    command = shlex.join(words)
    if as_json:
        name, script = submission.name, str(submission.script)
        output.printer(as_json).one({"name": name, "script": script, "text": submission.text, "command": command})
        return 0
    click.echo(submission.text, nl=False)
    note(f"not submitted: {command}")
    return 0


def _submit(site: Site, request: LaunchRequest, as_json: bool) -> int:
    from balsam_cli import access, launches, output
    from balsam_cli.reach import unreachable
    from balsam_cli.terminal import hint, note
    from balsam_scheduler.batch.submitting import submit

    store = access.open_store(site)
    with launches.logged(site):
        launch = submit(site, store, request)
    output.printer(as_json).one(launches.as_record(launch), output.Lines([launches.line(launch)]))
    if text := unreachable(site, launch.batch_system):
        note(f"note: {text}")
    _say_if_misspelled(store, request.wf_filter)
    if not as_json:
        hint(f"`balsam ls launches` shows how it stands, `balsam cancel {launch.launch_id}` cancels it")
    return 0


def _say_if_misspelled(store: Client, workflow: str) -> None:
    """Jobs of the workflow may come later; most often it is misspelled."""
    from balsam_cli import selection
    from balsam_cli.terminal import note

    if workflow and not selection.count_jobs(store, selection.job_conditions(workflow=workflow)):
        note(f"note: {selection.why_none(store, None, workflow)}")
