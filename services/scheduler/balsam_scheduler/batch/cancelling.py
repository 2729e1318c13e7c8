"""Ends launches on demand: the launcher is asked to stop first, so that its runs end as they should."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from balsam.client import Client
from balsam.errors import BalsamError, NotAllowed
from balsam.site import Site
from balsam_scheduler.batch import calls, naming, ownership, records
from balsam_scheduler.batch.answers import Answer, CannotTell, Known, System
from balsam_scheduler.batch.records import LaunchRecord
from balsam_scheduler.batch.systems import named

log = logging.getLogger("balsam.batch")

_STOP_SECONDS = 10.0
"""What a launcher needs beside the grace of its runs."""
_POLL_SECONDS = 0.5
DONE = "cancelled with `balsam cancel`"
"""What is recorded of a launch that the batch system does not have any more."""


def cancel(
    site: Site,
    client: Client,
    launch_id: int,
    run: calls.Run = calls.run,
    sleep: Callable[[float], None] = time.sleep,
    *,
    force: bool = False,
    message: str = DONE,
    ask_launcher: bool = True,
) -> LaunchRecord:
    """Cancels a launch in the batch system, and records that; gives it as it is then.

    Another user's launch is only recorded as cancelled: its launcher hears of that, and the batch system would not do
    it for us, or might do it to another job.

    Args:
        site: the site.
        client: the same, as a client.
        launch_id: the launch.
        run: runs the commands of the batch system.
        sleep: waits.
        force: records it also where the batch system did not do so.
        message: why, for the launch.
        ask_launcher: False: its launcher is gone.

    Raises:
        NotFound: there is no such launch.
        NotAllowed: it is over.
        BalsamError: the batch system did not do so, or cannot be asked.
    """
    launch = records.get(client, launch_id)
    if launch.is_over:
        raise NotAllowed(f"launch {launch_id} is over: it is {launch.state}")
    grace = site.settings.kill_grace_seconds + _STOP_SECONDS if ask_launcher else None
    user = ownership.user_of(client)
    try:
        if launch.owner != user:
            message = ownership.left_to_owner(launch, user)
        elif launch.batch_system:
            _end(launch, named(launch.batch_system), run, sleep, grace)
    except BalsamError as error:
        why = str(error)
        if not force:
            forget = f"`balsam cancel --force {launch_id}` gives it up, whatever becomes of its job"
            raise BalsamError(f"launch {launch_id} is not cancelled: {why}; try again later; {forget}") from None
        message = f"cancelled with `balsam cancel --force`; its job may be there still: {why}"
    log.info("launch %d is %s", launch_id, message)
    values = {"state": records.CANCELLED, "message": message}
    return records.change(client, launch, lambda now: values)


def cancel_lost(site: Site, client: Client, launch_id: int, since: str, run: calls.Run = calls.run) -> bool:
    """Cancels a launch whose launcher is gone; False: that is back.

    Args:
        site: the site.
        client: the same, as a client.
        launch_id: the launch.
        since: when the launcher was at work last, for people.
        run: runs the commands of the batch system.

    Raises:
        BalsamError: as `cancel`.
    """
    if launch_id in records.at_work(client):
        return False
    message = f"cancelled by `balsam service`: its launcher is gone since {since}, and it still had nodes"
    cancel(site, client, launch_id, run, message=message, ask_launcher=False)
    return True


def _end(
    launch: LaunchRecord, system: System, run: calls.Run, sleep: Callable[[float], None], grace: float | None
) -> None:
    """Ends the job of a launch; if there is a grace [s], its launcher is asked to stop, and has so long for it."""
    answer = _ask(launch, system, run)
    if isinstance(answer, CannotTell):
        raise BalsamError(answer.reason)
    if not isinstance(answer, Known):
        return  # it was never accepted, or has ended just now
    if grace is not None and answer.state == records.RUNNING and system.ask_to_stop(answer.job_id, run):
        deadline = time.monotonic() + grace
        while _may_run(_ask(launch, system, run)) and time.monotonic() < deadline:
            sleep(_POLL_SECONDS)
    left = [answer.job_id] if _may_run(_ask(launch, system, run)) else []
    for job_id in (*left, *answer.others):
        system.cancel(job_id, run)


def _ask(launch: LaunchRecord, system: System, run: calls.Run) -> Answer:
    ticket = naming.ticket(launch, system)
    return system.look([ticket], run)[ticket]


def _may_run(answer: Answer) -> bool:
    if isinstance(answer, Known):
        return answer.state in (records.QUEUED, records.RUNNING)
    return isinstance(answer, CannotTell)
