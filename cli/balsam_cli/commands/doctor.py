"""`balsam doctor`: checks the site, and names fixes."""

from __future__ import annotations

import click

from balsam_cli import options
from balsam_cli.command import Command


@click.command(cls=Command)
@options.as_json
def command(as_json: bool) -> int:
    """Check the site and this host, and name the command that mends what is wrong.

    It works also where the services are down or the site is damaged, and changes
    nothing. Exits with 1 when there is a problem.
    """
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
