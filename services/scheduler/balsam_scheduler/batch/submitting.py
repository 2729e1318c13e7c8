"""Submits launches: recorded first, then rendered, then given to the batch system, in the caller's own account.

Whoever dies in between leaves a launch that is found again by the name of its job; see `looking`.
"""

from __future__ import annotations

import functools
import logging
import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from balsam.client import Client
from balsam.commands import split
from balsam.errors import BalsamError
from balsam.fields import LAUNCH_FIELDS
from balsam.site import Site, write_closed
from balsam_scheduler.batch import calls, naming, records, templates
from balsam_scheduler.batch.answers import CannotTell, Gone, InDoubt, Known, Refused, Submission, System
from balsam_scheduler.batch.looking import end_others
from balsam_scheduler.batch.looking import refresh as refresh
from balsam_scheduler.batch.records import LaunchRecord
from balsam_scheduler.batch.systems import choose, named

log = logging.getLogger("balsam.batch")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LaunchRequest:
    """A launch that is wanted.

    Attributes:
        nodes: how many nodes, at least 1.
        wall_minutes: time limit, at least 1 [minutes].
        queue: queue or partition; empty: the default of the batch system.
        project: project that is charged; empty: the default.
        job_mode: of its launcher: ``auto``, ``mpi`` or ``serial``.
        wf_filter: its launcher takes this workflow only (exact, or a glob); empty: all.
        sched_flags: further options of the submission, as in a shell.
        prescheduled_only: its launcher takes only the jobs that are bound to it.
        request_id: client-made UUID: the same request again submits nothing more; empty: it is not remembered.
    """

    nodes: int
    wall_minutes: int
    queue: str = ""
    project: str = ""
    job_mode: str = "auto"
    wf_filter: str = ""
    sched_flags: str = ""
    prescheduled_only: bool = False
    request_id: str = ""


class SubmitFailed(BalsamError):
    """A launch was recorded and could not be submitted; the same reason is its message."""

    reason = "SUBMIT_FAILED"

    def __init__(self, launch_id: int, why: str) -> None:
        super().__init__(f"launch {launch_id} was not submitted: {why}")
        self.launch_id = launch_id


def submit(site: Site, client: Client, wanted: LaunchRequest, run: calls.Run = calls.run) -> LaunchRecord:
    """Records a launch, and submits it; gives it as it is then.

    It is UNKNOWN where the batch system did not say whether it has it: then it is looked for by its name later on.

    Args:
        site: the site.
        client: the same, as a client.
        wanted: the launch.
        run: runs the commands of the batch system.

    Raises:
        SubmitFailed: it was not accepted; the launch says why, too.
        BalsamError: it was not recorded; says why.
    """
    launch, is_new = _recorded(site, client, wanted, run)
    return _attempt(site, client, launch, run) if is_new else _go_on(site, client, launch, run)


def finish(site: Site, client: Client, wanted: LaunchRequest, run: calls.Run = calls.run) -> LaunchRecord:
    """Goes on with a request, which has an id, of a process that was killed; the arguments and errors of `submit`.

    One that had not been recorded is CANCELLED: what it was for is to be planned anew.
    """
    launch, is_new = _recorded(site, client, wanted, run)
    if is_new:
        return _record(client, launch, state=records.CANCELLED, message="planned anew")
    return _go_on(site, client, launch, run)


def _recorded(site: Site, client: Client, wanted: LaunchRequest, run: calls.Run) -> tuple[LaunchRecord, bool]:
    """The record of a request, and whether it was made only now."""
    values = check(wanted)
    system = choose(site.settings.batch_system, run=run)
    newest = records.newest_id(client) if wanted.request_id else 0
    launch = records.create(client, values | {"batch_system": system.name}, wanted.request_id)
    return launch, launch.launch_id > newest


def _go_on(site: Site, client: Client, launch: LaunchRecord, run: calls.Run) -> LaunchRecord:
    """What has become of a request that was heard before: it is submitted if it never was, and nobody is about to."""
    if launch.state == records.SUBMIT_FAILED:
        raise SubmitFailed(launch.launch_id, launch.message)
    if launch.state != records.PENDING:
        return launch
    answer = _find(launch, named(launch.batch_system), run)
    if not isinstance(answer, Gone):
        return _record_answer(client, launch, answer, run)
    if time.time() - launch.create_time.timestamp() <= calls.LIMIT_SECONDS:
        return launch  # the command that a killed process has left may be under way still
    return _attempt(site, client, launch, run)


def _attempt(site: Site, client: Client, launch: LaunchRecord, run: calls.Run) -> LaunchRecord:
    """Renders the script of a launch and submits it. Raises SubmitFailed, of which the launch hears, too."""
    system = named(launch.batch_system)
    try:
        submission = prepare(site, launch, system)
        launch = _record(client, launch, command=shlex.join(system.submission(submission)))
        answer = _submit(launch, system, submission, run)
    except (BalsamError, OSError) as error:
        why = str(error)
        log.error("launch %d was not submitted: %s", launch.launch_id, why)
        _record(client, launch, state=records.SUBMIT_FAILED, message=why)
        raise SubmitFailed(launch.launch_id, why) from None
    return _record_answer(client, launch, answer, run)


def check(wanted: LaunchRequest) -> dict[str, Any]:
    """The values of a launch that is wanted.

    Raises:
        ValidationError: one of them is wrong.
    """
    names = [name for name in LaunchRequest.__dataclass_fields__ if name != "request_id"]
    values = {name: LAUNCH_FIELDS[name].check(getattr(wanted, name)) for name in names}
    split(wanted.sched_flags)
    for name in ("queue", "project"):
        naming.check_place(name, values[name])
    return values


def prepare(site: Site, launch: LaunchRecord, system: System) -> Submission:
    """Renders the script of a launch into the site's qsubmit/.

    Raises:
        BalsamError: the template does not render, or others may write to it or beside the script.
        OSError: the script cannot be written.
    """
    site.make_run()  # and what else is this user's own; nobody else may write beside the script
    submission = describe(site, launch, system)
    submission.script.parent.mkdir(mode=0o700, exist_ok=True)
    draft = submission.script.with_suffix(f".{os.getpid()}.tmp")
    write_closed(draft, submission.text, 0o700)
    draft.replace(submission.script)
    return submission


def describe(site: Site, launch: LaunchRecord, system: System) -> Submission:
    """What would be submitted for a launch. Raises SiteError if the template does not render."""
    name, output = naming.job_name(launch, system.longest_name), naming.output_file(site, launch)
    values = templates.variables(site, launch, name, output)
    return Submission(
        name=name,
        script=naming.script_file(site, launch),
        output=output,
        nodes=launch.nodes,
        wall_minutes=launch.wall_minutes,
        queue=launch.queue,
        project=launch.project,
        flags=tuple(split(launch.sched_flags)),
        text=templates.render(templates.find(site, system.name), values),
    )


def rehearse(site: Site, wanted: LaunchRequest) -> tuple[Submission, tuple[str, ...]]:
    """What `submit` would submit, and by which command; asks nobody and leaves nothing. Its launch has the number 0.

    Raises:
        ValidationError: a value is wrong.
        SiteError: the template does not render.
    """
    system = choose(site.settings.batch_system)
    values = check(wanted) | {"launch_id": 0, "create_time": _EPOCH, "batch_system": system.name}
    submission = describe(site, records.of_values(values), system)
    return submission, system.submission(submission)


def _submit(launch: LaunchRecord, system: System, submission: Submission, run: calls.Run) -> Known | CannotTell:
    """Submits; once more if it may have been accepted and is not there. Raises Refused."""
    for is_second in (False, True):
        try:
            accepted = Known(system.submit(submission, run), records.QUEUED)
            return _found_again(launch, system, accepted, run) if is_second else accepted
        except InDoubt as error:
            doubt = str(error)
        log.warning("launch %d: %s; looking for job %s", launch.launch_id, doubt, submission.name)
        answer = _find(launch, system, run)
        if isinstance(answer, Known):
            return answer
        if isinstance(answer, CannotTell):
            return CannotTell(f"it may have been accepted: {doubt}; {answer.reason}")
    raise Refused(f"{doubt} (twice, and the batch system has no job {submission.name})")


def _found_again(launch: LaunchRecord, system: System, accepted: Known, run: calls.Run) -> Known:
    """What counts after a second submission: the first may have arrived late, and then there are two jobs."""
    found = _find(launch, system, run)
    return found if isinstance(found, Known) else accepted


def _find(launch: LaunchRecord, system: System, run: calls.Run) -> Known | Gone | CannotTell:
    ticket = naming.ticket(launch, system)
    return system.look([ticket], run)[ticket]


def _record_answer(client: Client, launch: LaunchRecord, answer: Known | CannotTell, run: calls.Run) -> LaunchRecord:
    if isinstance(answer, CannotTell):
        log.warning("launch %d: %s", launch.launch_id, answer.reason)
        return _record(client, launch, state=records.UNKNOWN, message=answer.reason)
    end_others(launch, answer, run)
    state = records.RUNNING if answer.state == records.RUNNING else records.QUEUED
    log.info("launch %d is %s job %s", launch.launch_id, launch.batch_system, answer.job_id)
    launch = _record(client, launch, scheduler_id=answer.job_id, state=state, message="")
    if launch.state == records.CANCELLED:
        _end_cancelled(launch, run)
    return launch


def _end_cancelled(launch: LaunchRecord, run: calls.Run) -> None:
    """Whoever cancelled a launch while it was being submitted did not know its job yet."""
    try:
        named(launch.batch_system).cancel(launch.scheduler_id, run)
        log.info("launch %d was cancelled meanwhile, and its job %s is", launch.launch_id, launch.scheduler_id)
    except BalsamError as error:
        log.warning("launch %d was cancelled meanwhile, and its job is not: %s", launch.launch_id, error)


def _record(client: Client, launch: LaunchRecord, **values: Any) -> LaunchRecord:
    return records.change(client, launch, functools.partial(_unless_it_went_on, values))


def _unless_it_went_on(values: Mapping[str, Any], now: LaunchRecord) -> Mapping[str, Any]:
    """Its launcher may have come up, or somebody have cancelled it, before this process knew that it was accepted."""
    if now.state in (records.PENDING, records.UNKNOWN, records.SUBMIT_FAILED):
        return values
    return {name: value for name, value in values.items() if name not in ("state", "message")}
