"""What the page changes, with the rights of the user whose page it is: the job store decides on each job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from balsam.client import Client
from balsam.convert import job_message
from balsam.errors import NotFound, ValidationError
from balsam.fields import JOB_FIELDS, check_id
from balsam.job_calls import selector_message
from balsam.query import Test
from balsam.restarts import restart_states
from balsam.states import State
from balsam.v1 import job_service_pb2
from balsam.v1.job_service_pb2_grpc import JobServiceStub

MOST_JOBS = 1000
"""Jobs of one action."""
_MESSAGE = "balsam web"


def act(client: Client, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Does what a button says; tells how many jobs it was done to, and why not to others.

    Args:
        client: the line to the site.
        name: ``kill``, ``restart`` or ``priority``.
        body: `job_ids`; of kill `recursive`, of priority `priority`.

    Raises:
        NotFound: there is no such action.
        ValidationError: what was sent is wrong.
    """
    if name not in _ACTIONS:
        raise NotFound(f"there is no action {name!r} (actions: {', '.join(_ACTIONS)})")
    return _ACTIONS[name](client, _ids(body), body)


def _ids(body: Mapping[str, Any]) -> list[str]:
    ids = body.get("job_ids")
    if not isinstance(ids, list) or not ids or len(ids) > MOST_JOBS:
        raise ValidationError(f"job_ids: must be a list of 1 to {MOST_JOBS} ids", field="job_ids")
    return list(dict.fromkeys(check_id(one, "job_ids") for one in ids))


def _kill(client: Client, ids: Sequence[str], body: Mapping[str, Any]) -> dict[str, Any]:
    request = job_service_pb2.KillJobsRequest(
        selector=selector_message(ids), recursive=body.get("recursive") is True, message=_MESSAGE
    )
    answer = client.call(JobServiceStub, "KillJobs", request)
    remark = f"{answer.already_ended} had ended already" if answer.already_ended else ""
    return _done("killed", answer.killed, [one.message for one in answer.refusals], remark)


def _priority(client: Client, ids: Sequence[str], body: Mapping[str, Any]) -> dict[str, Any]:
    priority = JOB_FIELDS["priority"].check(body.get("priority"))
    request = job_service_pb2.UpdateJobsRequest()
    for one in ids:
        update = request.updates.add(job=job_message({"job_id": one, "priority": priority}))
        update.update_mask.paths.append("priority")
    answer = client.call(JobServiceStub, "UpdateJobs", request)
    return _done("changed", answer.updated, [one.message for one in answer.refusals])


def _restart(client: Client, ids: Sequence[str], _body: Mapping[str, Any]) -> dict[str, Any]:
    done, refusals = 0, []
    for state, some in _by_target(client, ids).items():
        outcome = client.jobs.set_state(some, state.name, _MESSAGE)
        done += outcome.done
        refusals += [outcome.first.message] if outcome.first is not None else []
    return _done("set to run again", done, refusals)


def _by_target(client: Client, ids: Sequence[str]) -> dict[State, list[str]]:
    """State to enter -> the jobs: what failed before or after its run is not run again for that."""
    where = Test("job_id", (), "IN", tuple(ids))
    states = {row["job_id"]: row["state"] for page in client.jobs.pages(where, (), 0, ["state"]) for row in page}
    failed = [one for one in ids if states.get(one) == State.FAILED.name]
    again = restart_states(client, failed) if failed else {}
    targets: dict[State, list[str]] = defaultdict(list)
    for one in ids:
        targets[again.get(one, State.RESTART_READY)].append(one)
    return targets


def _done(verb: str, done: int, refusals: Sequence[str], remark: str = "") -> dict[str, Any]:
    return {"verb": verb, "done": done, "remark": remark, "refusals": list(refusals[:10])}


_ACTIONS: dict[str, Callable[[Client, Sequence[str], Mapping[str, Any]], dict[str, Any]]] = {
    "kill": _kill,
    "restart": _restart,
    "priority": _priority,
}
