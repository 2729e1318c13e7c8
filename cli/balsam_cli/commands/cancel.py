"""`balsam cancel`: cancels batch launches."""

from __future__ import annotations

import click

from balsam_cli import options
from balsam_cli.command import Command


@click.command(cls=Command)
@click.argument("launches", nargs=-1, required=True, type=click.IntRange(1, 2**63 - 1), metavar="LAUNCH...")
@click.option("--force", is_flag=True, help="Give up those that the batch system does not end, or cannot be asked for.")
@options.as_json
def command(launches: tuple[int, ...], force: bool, as_json: bool) -> int:
    """Cancel batch launches, by the numbers that `balsam ls launches` shows.

    The launcher of one that runs is asked to stop first: its runs end as RUN_TIMEOUT
    and are run again by another launcher. If it does not, the batch system ends it.
    A launch of another user ends when its launcher hears of it; only its user can end
    its batch job.

    \b
      balsam cancel 12
      balsam cancel 12 13 --force
    """
    from balsam.errors import BalsamError
    from balsam.site import find_site
    from balsam_cli import access, outcome, output
    from balsam_cli.launches import logged
    from balsam_cli.terminal import note
    from balsam_scheduler.batch.cancelling import DONE, cancel

    site = find_site()
    store = access.open_store(site)
    result = outcome.Outcome(asked=len(launches))
    for launch_id in launches:
        try:
            with logged(site):
                launch = cancel(site, store, launch_id, force=force)
            result.done += 1
            if launch.message != DONE:
                note(f"note: launch {launch_id} is {launch.message}")
        except BalsamError as error:
            result.skip(str(launch_id), error)
    return result.report(output.printer(as_json), "cancelled", "launch")
