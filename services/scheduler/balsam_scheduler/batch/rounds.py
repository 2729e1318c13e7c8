"""One round of the automatic submitter: look, plan, submit.

A submission is written down before it begins, with the request id under which the launch is recorded. Whoever is killed
in between finishes it in the next round under the same id, which neither records nor submits a second launch.
"""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from balsam.errors import BalsamError, SiteError, Unavailable
from balsam.run_times import expected_minutes
from balsam_scheduler.batch import policy as policies
from balsam_scheduler.batch import remembering
from balsam_scheduler.batch.cancelling import cancel_lost
from balsam_scheduler.batch.observing import observe
from balsam_scheduler.batch.planning import Plan, Planned, plan
from balsam_scheduler.batch.policy import POLICY_FILE, Policy
from balsam_scheduler.batch.reasons import clock
from balsam_scheduler.batch.records import PENDING, UNKNOWN, LaunchRecord
from balsam_scheduler.batch.scene import Memory
from balsam_scheduler.batch.submitting import LaunchRequest, finish, refresh, submit
from balsam_scheduler.batch.work import NOTHING, counted

if TYPE_CHECKING:
    from balsam.client import Client

Tell = Callable[[str], None]
"""Takes a line for people."""


@dataclass(frozen=True)
class Round:
    """What a round did.

    Attributes:
        plan: what it found right.
        failure: why not all that was planned was submitted; empty: it was, or the process is to stop.
        seconds: how long the job store took to say what there is [s].
    """

    plan: Plan
    failure: str = ""
    seconds: float = 0.0


def policy_of(client: Client) -> Policy:
    """The policy of the site, with a queue at least.

    Raises:
        SiteError: there is none, or it is not valid.
    """
    policy = policies.load(client.site.path)
    file = client.site.path / POLICY_FILE
    if policy is None:
        raise SiteError(f"there is no {file}, which says what may be submitted; docs/service.md shows one")
    if not policy.queues:
        raise SiteError(f"{file} has no [[queue]], so nothing may be submitted: write one, as docs/service.md shows")
    return policy


def dry_round(client: Client, now: float, expected: Mapping[str, int] | None = None) -> Plan:
    """What a round would do now. Changes nothing.

    Args:
        client: the site.
        now: the time [s since 1970].
        expected: as for `observe`; None: as the history tells, where launchers go by that.

    Raises:
        BalsamError: the policy is not valid, or the job store is away.
    """
    policy = policy_of(client)
    expected = expected_minutes(client) if expected is None else expected
    return plan(policy, observe(client, policy, remembering.load(client.site), now, expected))


def do_round(
    client: Client,
    now: float,
    tell: Tell,
    *,
    ask_batch: bool = True,
    expected: Mapping[str, int] = NOTHING,
    stopping: Callable[[], bool] = lambda: False,
) -> Round:
    """Finishes what was begun, asks the batch system how launches stand, and submits what is needed.

    Args:
        client: the site.
        now: the time [s since 1970].
        tell: hears of each submission and its reason.
        ask_batch: False: believe what is recorded of launches.
        expected: as for `observe`.
        stopping: whether the process is to stop: then nothing more is submitted.

    Raises:
        BalsamError: the policy is not valid, or the job store is away.
    """
    policy = policy_of(client)
    memory = remembering.load(client.site)
    if memory.pending is not None:
        memory = _finish(client, memory, tell)
    if ask_batch:
        _refresh(client, tell)
    began = time.monotonic()
    scene = observe(client, policy, memory, now, expected)
    seconds = time.monotonic() - began
    found = plan(policy, scene)
    remembering.save(client.site, found.memory)
    failures = [*_end_lost(client, found, tell), *_submit_all(client, found, tell, stopping)]
    return Round(found, "; ".join(dict.fromkeys(failures)), seconds)


def _finish(client: Client, memory: Memory, tell: Tell) -> Memory:
    """Goes on with what a process began that was killed."""
    try:
        launch = finish(client.site, client, LaunchRequest(**dict(memory.pending or {})))
        why = f": {launch.message}" if launch.message else ""
        tell(f"{_named(launch)}, which was begun before, is {launch.state}{why}")
        if launch.state == PENDING:
            return memory  # it stays begun
    except Unavailable:
        raise  # it stays begun
    except (BalsamError, TypeError) as error:
        tell(f"what was begun before could not be submitted: {error}")
    memory = replace(memory, pending=None)
    remembering.save(client.site, memory)
    return memory


def _refresh(client: Client, tell: Tell) -> None:
    try:
        refresh(client.site, client)
    except Unavailable:
        raise
    except BalsamError as error:
        tell(f"the batch system does not say how launches stand: {error}")


def _end_lost(client: Client, found: Plan, tell: Tell) -> list[str]:
    """Cancels launches whose launcher is gone; gives what has failed."""
    failures = []
    for launch in found.lost:
        since = clock(launch.lost or 0.0)
        try:
            if cancel_lost(client.site, client, launch.launch_id, since):
                tell(f"launch {launch.launch_id} is cancelled: its launcher is gone since {since}, and it had nodes")
        except Unavailable:
            raise
        except BalsamError as error:
            failures.append(str(error))
    return failures


def _submit_all(client: Client, found: Plan, tell: Tell, stopping: Callable[[], bool]) -> list[str]:
    """Submits what is planned; gives what has failed.

    A queue that refuses a launch gets no other in this round. After a launch that is in doubt nobody gets one.
    """
    failures: dict[str, str] = {}
    for planned in found.launches:
        if stopping():
            break
        if planned.queue.name in failures:
            continue
        try:
            launch = _submit_one(client, found, planned)
        except Unavailable:
            raise  # it stays begun
        except BalsamError as error:
            failures[planned.queue.name] = f"no launch of {_size(planned)}: {error}"
            continue
        if launch.state == UNKNOWN:
            doubt = f"{_named(launch)} of {_size(planned)} is UNKNOWN, and nothing more is submitted now"
            return [*failures.values(), f"{doubt}: {launch.message}"]
        tell(f"{_named(launch)} is submitted: {_size(planned)}; {planned.why}")
    return list(failures.values())


def _submit_one(client: Client, found: Plan, planned: Planned) -> LaunchRecord:
    wanted = request(planned, str(uuid.uuid4()))
    remembering.save(client.site, replace(found.memory, pending=dataclasses.asdict(wanted)))
    try:
        launch = submit(client.site, client, wanted)
    except Unavailable:
        raise
    except BalsamError:
        remembering.save(client.site, found.memory)
        raise
    remembering.save(client.site, found.memory)
    return launch


def _named(launch: LaunchRecord) -> str:
    return f"launch {launch.launch_id}" + (f" ({launch.scheduler_id})" if launch.scheduler_id else "")


def _size(planned: Planned) -> str:
    return f"{counted(planned.nodes, 'node')} for {counted(planned.minutes, 'minute')} in {planned.queue.label}"


def request(planned: Planned, request_id: str) -> LaunchRequest:
    """The request for a planned launch."""
    queue = planned.queue
    return LaunchRequest(
        nodes=planned.nodes,
        wall_minutes=planned.minutes,
        queue=queue.name,
        project=queue.project,
        job_mode=queue.job_mode,
        wf_filter=queue.wf_filter,
        sched_flags=queue.sched_flags,
        request_id=request_id,
    )
