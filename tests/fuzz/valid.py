"""Requests as programs make them, so that what a fuzzer meets is a store with work, sessions and leases in it.

Each fills an empty request of its rpc. What is not here is valid when it is empty, or is met with nonsense only.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

from balsam.states import State
from balsam.v1.session_pb2 import Session
from tests.fuzz.known import Known

WORKFLOWS = ["a", "a/b", "c"]
_SETTABLE = [int(state) for state in State]
_MOST_AT_ONCE = 5
_ALL = 0.004
"""How often a call is about every job there is; deleting them keeps the store small."""


def _id(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def _job_id(chance: random.Random, known: Known) -> str:
    return known.pick("job_id", chance) or _id(chance)


def _select(request: Any, chance: random.Random, known: Known) -> None:
    if chance.random() < _ALL:
        request.selector.filter.SetInParent()
    elif chance.random() < 0.1:
        test = request.selector.filter.all.filters.add().test
        test.field, test.op = "workflow", 1
        test.values.add().text = chance.choice(WORKFLOWS)
        request.selector.filter.all.filters.add().test.CopyFrom(test)
    else:
        request.selector.ids.job_ids.extend(_job_id(chance, known) for _ in range(chance.randint(1, _MOST_AT_ONCE)))


def create_jobs(request: Any, chance: random.Random, known: Known) -> None:
    """Some jobs, of which some wait for others."""
    for _ in range(chance.randint(1, _MOST_AT_ONCE)):
        job = request.jobs.add(job_id=_id(chance), name=f"j{chance.randrange(100)}", workflow=chance.choice(WORKFLOWS))
        job.priority, job.num_nodes = chance.randint(-2, 2), chance.randint(1, 3)
        job.data = f'{{"x": {chance.randrange(5)}}}'
        if len(request.jobs) > 1 and chance.random() < 0.5:
            job.parents.append(request.jobs[0].job_id)
        parent = known.pick("job_id", chance)
        if parent and chance.random() < 0.2:
            job.parents.append(parent)
    for job in request.jobs:
        known.add("job_id", job.job_id)


def _job(request: Any, chance: random.Random, known: Known) -> None:
    request.job_id = _job_id(chance, known)


def _page(request: Any, chance: random.Random, known: Known) -> None:
    request.page_size = chance.choice([0, 1, 20])
    if chance.random() < 0.3:
        request.page_token = known.pick("page_token", chance) or ""


def _list_jobs(request: Any, chance: random.Random, known: Known) -> None:
    _page(request, chance, known)
    test = request.filter.test
    test.field, test.op = chance.choice(["name", "workflow"]), chance.choice([1, 3, 5])
    test.values.add().text = chance.choice(WORKFLOWS)
    request.order_by.add(field=chance.choice(["priority", "create_time"]))


def _update_jobs(request: Any, chance: random.Random, known: Known) -> None:
    for _ in range(chance.randint(1, _MOST_AT_ONCE)):
        update = request.updates.add()
        update.job.job_id, update.job.priority = _job_id(chance, known), chance.randint(-2, 2)
        update.job.data = '{"x": 1, "y": [null, 1.5, "é"]}'
        update.update_mask.paths.extend(["priority", "data"])


def _update_matching(request: Any, chance: random.Random, known: Known) -> None:
    _select(request, chance, known)
    request.values.num_nodes = chance.randint(1, 3)
    request.update_mask.paths.append("num_nodes")


def _set_state(request: Any, chance: random.Random, known: Known) -> None:
    _select(request, chance, known)
    request.state = chance.choice(_SETTABLE)


def _kill(request: Any, chance: random.Random, known: Known) -> None:
    _select(request, chance, known)
    request.recursive = chance.random() < 0.5


def _delete(request: Any, chance: random.Random, known: Known) -> None:
    _select(request, chance, known)
    request.kill = chance.random() < 0.5


def _dependencies(request: Any, chance: random.Random, known: Known) -> None:
    request.add.add(parent_id=_job_id(chance, known), child_id=_job_id(chance, known))
    request.remove.add(parent_id=_job_id(chance, known), child_id=_job_id(chance, known))


def _application(request: Any, chance: random.Random, known: Known) -> None:
    request.application.name, request.application.executable = f"app{chance.randrange(20)}", "true"


def _name(request: Any, chance: random.Random, known: Known) -> None:
    request.name = f"app{chance.randrange(20)}"


def _update_application(request: Any, chance: random.Random, known: Known) -> None:
    _application(request, chance, known)
    request.update_mask.paths.append("executable")


def _create_launch(request: Any, chance: random.Random, known: Known) -> None:
    request.launch.nodes, request.request_id = chance.randint(1, 4), _id(chance)
    known.add("request_id", request.request_id)


def _launch(request: Any, chance: random.Random, known: Known) -> None:
    request.launch_id = known.pick("launch_id", chance) or chance.randint(1, 50)


def _update_launch(request: Any, chance: random.Random, known: Known) -> None:
    _launch(request.launch, chance, known)
    request.launch.nodes = chance.randint(1, 4)
    request.update_mask.paths.append("nodes")


def _watch(request: Any, chance: random.Random, known: Known) -> None:
    request.after_sequence = chance.randrange(1000)
    request.filter.workflow = chance.choice(WORKFLOWS)


def _open_session(request: Any, chance: random.Random, known: Known) -> None:
    request.session.kind = chance.choice([Session.LAUNCHER, Session.LAUNCHER, Session.SCHEDULER])
    request.session.job_mode, request.session.host, request.request_id = "auto", f"h{chance.randrange(9)}", _id(chance)


def _session(request: Any, chance: random.Random, known: Known) -> None:
    request.session_id = known.pick("session_id", chance) or _id(chance)


def _rules(request: Any, chance: random.Random, known: Known) -> None:
    _session(request, chance, known)
    rule = request.rules.add(path=[int(State.AWAITING_PARENTS)], when=[1])
    setattr(rule, "from", int(State.CREATED))


def _add_user(request: Any, chance: random.Random, known: Known) -> None:
    request.user.name, request.user.role = f"user{chance.randrange(20)}", chance.randint(1, 2)
    request.token_digest = chance.randbytes(32)


def _drop_user(request: Any, chance: random.Random, known: Known) -> None:
    request.name = f"user{chance.randrange(20)}"


def work(request: Any, chance: random.Random, known: Known) -> None:
    """Credit, and reports under leases that somebody was granted."""
    if chance.random() < 0.6:
        request.credit.nodes, request.credit.jobs, request.credit.largest = 10, 5, 10
        request.credit.grants_seen = chance.randrange(20)
    for _ in range(chance.randrange(3)):
        handle, token = known.lease(chance)
        report = request.reports.reports.add(lease={"handle": handle, "token": token}, release=chance.random() < 0.6)
        for state in chance.choice([[State.RUNNING], [State.RUN_DONE], [State.RUNNING, State.RUN_ERROR], []]):
            report.passages.add(state=int(state), time_us=chance.choice([0, 1, 2**60]))
    request.reports.number = chance.randrange(1, 50)
    request.ask_drained = chance.random() < 0.1


REQUESTS: dict[str, Callable[[Any, random.Random, Known], None]] = {
    "CreateJobs": create_jobs,
    "GetJob": _job,
    "ListJobs": _list_jobs,
    "ListApplications": _page,
    "ListLaunches": _page,
    "UpdateJobs": _update_jobs,
    "UpdateMatchingJobs": _update_matching,
    "SetJobState": _set_state,
    "KillJobs": _kill,
    "DeleteJobs": _delete,
    "ChangeDependencies": _dependencies,
    "CreateApplication": _application,
    "GetApplication": _name,
    "DeleteApplication": _name,
    "UpdateApplication": _update_application,
    "CreateLaunch": _create_launch,
    "GetLaunch": _launch,
    "DeleteLaunch": _launch,
    "UpdateLaunch": _update_launch,
    "WatchEvents": _watch,
    "OpenSession": _open_session,
    "RenewSession": _session,
    "CloseSession": _session,
    "RegisterRules": _rules,
    "Work": work,
    "AddUser": _add_user,
    "DropUser": _drop_user,
    "StopRun": _job,
    "TailOutput": _job,
    "ReadOutput": _job,
}
"""Name of an rpc -> what fills its request."""
