"""Looks after launches that are not over: asks the batch system about all of them at once, and records what changed."""

from __future__ import annotations

import functools
import logging
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from balsam.client import Client
from balsam.commands import read_tail
from balsam.errors import BalsamError, Conflict, NotFound
from balsam.site import Site
from balsam_scheduler.batch import calls, naming, ownership, records
from balsam_scheduler.batch.answers import Answer, CannotTell, Gone, Known, System
from balsam_scheduler.batch.records import LaunchRecord
from balsam_scheduler.batch.systems import in_vain, named

log = logging.getLogger("balsam.batch")
log.addHandler(logging.NullHandler())  # who has no log hears of errors otherwise: they are raised

PATIENCE_SECONDS = 300.0
"""A submission may be under way for so long; a launch that the batch system does not know then was never accepted."""
TWICE_SECONDS = 10.0
"""Between two answers that a launch is gone, so that it is believed."""


def refresh(site: Site, client: Client, run: calls.Run = calls.run) -> list[LaunchRecord]:
    """Asks the batch system about the user's launches that are not over, and records what has changed.

    Asks nobody where there are none. What cannot be told is UNKNOWN, never over.

    Args:
        site: the site.
        client: the same, as a client.
        run: runs the commands of the batch system.

    Returns:
        Those launches as they are then, oldest first.

    Raises:
        BalsamError: the job store is away, or refuses.
    """
    by_system: dict[str, list[LaunchRecord]] = defaultdict(list)
    for launch in ownership.own(client, records.open_launches(client)):
        by_system[launch.batch_system].append(launch)
    answers: dict[int, Answer] = {}
    for name, launches in by_system.items():
        answers |= _ask(named(name), launches, run)
    any_gone = any(isinstance(answer, Gone) for answer in answers.values())
    at_work = records.at_work(client) if any_gone else set()
    looked_at = [
        _take(site, client, launch, answers[launch.launch_id], run, at_work=launch.launch_id in at_work)
        for launches in by_system.values()
        for launch in launches
    ]
    return sorted(looked_at, key=lambda launch: launch.launch_id)


def _ask(system: System, launches: list[LaunchRecord], run: calls.Run) -> dict[int, Answer]:
    tickets = {launch.launch_id: naming.ticket(launch, system) for launch in launches}
    answers = system.look(list(tickets.values()), run)
    return {launch_id: answers[ticket] for launch_id, ticket in tickets.items()}


def _take(
    site: Site, client: Client, launch: LaunchRecord, answer: Answer, run: calls.Run, *, at_work: bool
) -> LaunchRecord:
    """Records an answer, unless the launch was changed since it was asked for: its launcher knows better."""
    if isinstance(answer, Known) and answer.others:
        end_others(launch, answer, run)
    tail = read_tail(naming.output_file(site, launch))
    try:
        decide = functools.partial(changes, answer=answer, tail=tail, now=time.time(), at_work=at_work)
        after = records.change(client, launch, decide, tries=1)
    except Conflict:
        return records.get(client, launch.launch_id)
    except NotFound:
        return launch  # deleted meanwhile
    if after.state != launch.state:
        log.info("launch %d: %s, was %s; %s", launch.launch_id, after.state, launch.state, after.message or "-")
    elif after.message != launch.message and in_vain(after.batch_system, after.message):
        log.warning("launch %d: %s", launch.launch_id, after.message)
    return after


def changes(launch: LaunchRecord, answer: Answer, tail: str, now: float, *, at_work: bool = False) -> Mapping[str, Any]:
    """What an answer changes in a launch. Pure.

    That the batch system does not have it (any more) is believed when it has said so twice, some time apart, and the
    job store knows of no launcher of it: a controller that has just been started, or one that looks into another
    database, may not know what runs.

    Args:
        launch: the launch as it was when the batch system was asked.
        answer: what that said.
        tail: the last lines of the script's output.
        now: the time [s since 1970].
        at_work: a launcher of it is at work, as far as the job store knows.
    """
    if isinstance(answer, CannotTell):
        # While it is being submitted somebody is at it, who will say so.
        waits = launch.state == records.PENDING and not _is_overdue(launch, now)
        return {} if waits else {"state": records.UNKNOWN, "message": answer.reason}
    if isinstance(answer, Known):
        return _of_known(launch, answer, tail)
    # One that its launcher has made RUNNING was accepted, even if nobody has heard of its id.
    if launch.scheduler_id or launch.state == records.RUNNING or at_work:
        return _of_gone(launch, answer, tail, now, at_work=at_work)
    if not _is_overdue(launch, now):
        return {}
    return {"state": records.SUBMIT_FAILED, "message": "it was never accepted: the batch system has no such job"}


def _of_gone(launch: LaunchRecord, answer: Gone, tail: str, now: float, *, at_work: bool) -> Mapping[str, Any]:
    """Of a launch that was there. The time at which it was not found first is kept in its message."""
    if at_work:
        return {"state": records.UNKNOWN, "message": f"its launcher is at work, though {answer.detail}"}
    since = _GONE_SINCE.search(launch.message) if launch.state == records.UNKNOWN else None
    if since is None:
        time_text = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        return {"state": records.UNKNOWN, "message": f"{answer.detail} (first at {time_text}; it is asked once more)"}
    if now - datetime.fromisoformat(since[1]).timestamp() < TWICE_SECONDS:
        return {}
    return {"state": records.ENDED, "message": _with_tail(answer.detail, tail)}


_GONE_SINCE = re.compile(r"\(first at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00); it is asked once more\)$")


def _of_known(launch: LaunchRecord, answer: Known, tail: str) -> Mapping[str, Any]:
    if answer.state in (records.ENDED, records.CANCELLED):
        message = _with_tail(answer.detail, tail)
    elif answer.state == launch.state and not answer.detail:
        message = launch.message  # what its launcher said
    else:
        message = _with_meaning(launch.batch_system, answer)
    return {"scheduler_id": answer.job_id, "state": answer.state, "message": message}


def _with_meaning(system: str, answer: Known) -> str:
    """The batch system's reason; with what it means where that does not go away by itself."""
    meaning = in_vain(system, answer.detail) if answer.state == records.QUEUED else None
    return f"{answer.detail}: {meaning.text}" if meaning is not None else answer.detail


def _is_overdue(launch: LaunchRecord, now: float) -> bool:
    return now - launch.create_time.timestamp() > PATIENCE_SECONDS


def _with_tail(detail: str, tail: str) -> str:
    text = " | ".join(line.strip() for line in tail.splitlines())
    return "; ".join(filter(None, (detail, f"its output ends with: {text}" if text else "")))


def end_others(launch: LaunchRecord, answer: Known, run: calls.Run) -> None:
    """Ends the further jobs of a launch that the batch system has accepted more than once."""
    for job_id in answer.others:
        try:
            named(launch.batch_system).cancel(job_id, run)
            log.warning("launch %d was accepted twice: job %s is cancelled", launch.launch_id, job_id)
        except BalsamError as error:
            log.warning("launch %d was accepted twice: %s", launch.launch_id, error)
