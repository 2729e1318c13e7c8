"""`balsam doctor`: checks the site, and names fixes; or shows by a drill that nothing is lost."""

from __future__ import annotations

import click

from balsam_cli import options
from balsam_cli.command import Command

_LEAST_JOBS, _JOBS, _MOST_JOBS = 20, 1000, 100_000


@click.command(cls=Command)
@click.option("--drill", is_flag=True, help="Run jobs, kill a launcher and the job store meanwhile, and count.")
@click.option("--jobs", type=click.IntRange(_LEAST_JOBS, _MOST_JOBS), metavar="N", help="Drill: so many; default 1000.")
@click.option("--keep", is_flag=True, help="Drill: leave its jobs and directories.")
@click.option(
    "--wait-for-lease",
    is_flag=True,
    help="Drill: the killed launcher's jobs come back by its lease, and not as soon as its death is certain.",
)
@options.yes
@options.as_json
def command(drill: bool, jobs: int | None, keep: bool, wait_for_lease: bool, yes: bool, as_json: bool) -> int:
    """Check the site and this host, and name the command that mends what is wrong.

    It works also where the services are down or the site is damaged, and changes
    nothing. Exits with 1 when there is a problem.

    With --drill it runs jobs that do nothing on this site, kills one of its own
    launchers and the job store in the middle, starts both again, and prints a
    receipt: that each job ran, never twice at a time, and was recorded once.

    \b
      balsam doctor
      balsam doctor --drill --jobs 200 --yes
    """
    if drill:
        return _drill(jobs, keep, wait_for_lease, yes, as_json)
    for name, given in {"--jobs": jobs, "--keep": keep, "--wait-for-lease": wait_for_lease, "--yes": yes}.items():
        if given:
            raise click.UsageError(f"{name} goes with --drill")
    return _examine(as_json)


def _examine(as_json: bool) -> int:
    from balsam_cli.doctor.checks import checks_of
    from balsam_cli.doctor.examination import examine
    from balsam_cli.doctor.finding import PROBLEM
    from balsam_cli.doctor.patient import find_patient

    findings = examine(checks_of(find_patient()))
    if as_json:
        from balsam_cli.output import JsonPrinter, Listing

        told = list(findings)
        JsonPrinter().rows(Listing((), (finding.as_record() for finding in told)))
    else:
        from balsam_cli.doctor.telling import tell

        told = tell(findings)
    return 1 if any(finding.level == PROBLEM for finding in told) else 0


def _drill(jobs: int | None, keep: bool, wait_for_lease: bool, yes: bool, as_json: bool) -> int:
    from balsam.site import find_site
    from balsam_cli.drill.drill import Drill
    from balsam_cli.drill.plan import Plan
    from balsam_cli.output import printer

    plan = Plan(jobs=jobs or _JOBS, keep=keep, yes=yes, wait_for_lease=wait_for_lease or None)
    receipt = Drill(find_site(), plan).run()
    printer(as_json).one(receipt.as_record(), *receipt.blocks())
    return 0 if receipt.passed else 1
