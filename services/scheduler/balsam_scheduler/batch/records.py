"""Launches as the job store has them: read, recorded, and changed only while they are as they were read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from balsam.client import Client
from balsam.errors import Conflict
from balsam.fields import LAUNCH_FIELDS, LAUNCH_OVER

PENDING, QUEUED, RUNNING, UNKNOWN = "PENDING_SUBMISSION", "QUEUED", "RUNNING", "UNKNOWN"
ENDED, SUBMIT_FAILED, CANCELLED = "ENDED", "SUBMIT_FAILED", "CANCELLED"

_TRIES = 20
_MESSAGE_CHARACTERS = 8000


@dataclass(frozen=True)
class LaunchRecord:
    """A launch; its fields are those of `balsam.fields.LAUNCH_FIELDS`."""

    launch_id: int
    scheduler_id: str
    project: str
    queue: str
    nodes: int
    wall_minutes: int
    job_mode: str
    wf_filter: str
    sched_flags: str
    command: str
    state: str
    prescheduled_only: bool
    from_balsam: bool
    owner: str
    create_time: datetime
    revision: int
    message: str
    batch_system: str

    @property
    def is_over(self) -> bool:
        """It will run nothing any more."""
        return self.state in LAUNCH_OVER

    @property
    def tag(self) -> str:
        """Eight digits that no other launch has, of whatever site: they tell its job from one that got its id since."""
        made = f"{self.launch_id} {self.create_time.timestamp():.6f}"
        return hashlib.sha256(made.encode()).hexdigest()[:8]


_NAMES = tuple(field.name for field in fields(LaunchRecord))


def of_values(values: Mapping[str, Any]) -> LaunchRecord:
    """A launch from what the job store has answered."""
    return LaunchRecord(**{name: values.get(name, LAUNCH_FIELDS[name].default) for name in _NAMES})


def get(client: Client, launch_id: int) -> LaunchRecord:
    """A launch. Raises NotFound."""
    return of_values(client.launches.get(launch_id))


def create(client: Client, values: Mapping[str, Any], request_id: str = "") -> LaunchRecord:
    """Records a launch; the one that was recorded before for the same request, as it is now."""
    from balsam.convert import launch_message, launch_values
    from balsam.ids import new_id
    from balsam.v1.launch_service_pb2 import CreateLaunchRequest
    from balsam.v1.launch_service_pb2_grpc import LaunchServiceStub

    checked = {name: LAUNCH_FIELDS[name].check(value) for name, value in values.items()}
    request = CreateLaunchRequest(launch=launch_message(checked), request_id=request_id or new_id())
    made = of_values(launch_values(client.call(LaunchServiceStub, "CreateLaunch", request)))
    # The answer to a request that is repeated is the one of then.
    return get(client, made.launch_id) if request_id else made


def newest_id(client: Client) -> int:
    """The number of the last launch that was recorded; 0: there is none. Numbers only rise."""
    launch = client.QueuedLaunch.objects.order_by("-launch_id").first()
    return int(launch.pk) if launch is not None else 0


def open_launches(client: Client) -> list[LaunchRecord]:
    """The launches that are not over and that a batch system has, or is to get, oldest first."""
    from balsam.query import AllOf, NotOf, Test

    over = Test("state", (), "IN", tuple(sorted(LAUNCH_OVER)))
    nobodys = Test("batch_system", (), "EXACT", ("",))
    pages = client.launches.pages(AllOf((NotOf(over), NotOf(nobodys))))
    return [of_values(values) for page in pages for values in page]


def at_work(client: Client) -> set[int]:
    """The launches whose launchers are at work, as far as the job store knows: their sessions have not ended."""
    from balsam.v1.session_pb2 import Session
    from balsam.v1.session_service_pb2 import ListSessionsRequest
    from balsam.v1.session_service_pb2_grpc import SessionServiceStub

    sessions = client.call(SessionServiceStub, "ListSessions", ListSessionsRequest()).sessions
    return {one.launch for one in sessions if one.kind == Session.LAUNCHER and one.HasField("launch")}


def change(
    client: Client, launch: LaunchRecord, decide: Callable[[LaunchRecord], Mapping[str, Any]], *, tries: int = _TRIES
) -> LaunchRecord:
    """Changes a launch as `decide` says of it as it is now; gives it as it is then.

    Args:
        client: the site.
        launch: the launch as it was read last.
        decide: the new values by what it is now; may be asked again.
        tries: how often; 1: not if somebody has changed it since it was read.

    Raises:
        Conflict: somebody else was always first.
        NotFound: it was deleted.
    """
    for left in reversed(range(tries)):
        values = dict(decide(launch))
        if "message" in values:
            values["message"] = values["message"][:_MESSAGE_CHARACTERS]
        values = {name: value for name, value in values.items() if value != getattr(launch, name)}
        if not values:
            return launch
        try:
            return of_values(client.launches.update(launch.launch_id, values, launch.revision))
        except Conflict:
            if not left:
                raise
            launch = get(client, launch.launch_id)
    return launch
