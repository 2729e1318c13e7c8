"""The batch launch that a launcher belongs to hears when the launcher comes up, and when it ends by itself.

Of one that is killed, or told to stop, the batch system tells whoever looks after the launches: only that knows whether
it has cancelled the job. Where several launchers are of one launch, the last one ends it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.field_mask_pb2 import FieldMask

from balsam.errors import BalsamError, Conflict, NotAllowed, NotFound
from balsam.rpc import Connection
from balsam.site import Site
from balsam.v1 import launch_pb2, launch_service_pb2
from balsam.v1.launch_service_pb2_grpc import LaunchServiceStub
from balsam.v1.session_service_pb2 import ListSessionsRequest
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from balsam_launcher.options import ENV_LAUNCH_ID

log = logging.getLogger("balsam.launcher")

_RUNNING, _ENDED, _CANCELLED = launch_pb2.Launch.RUNNING, launch_pb2.Launch.ENDED, launch_pb2.Launch.CANCELLED
_OVER = (_ENDED, launch_pb2.Launch.SUBMIT_FAILED, _CANCELLED)
_WHY_NOT = {_CANCELLED: "it was cancelled", _ENDED: "it has ended, and the jobs bound to it are free"}
_OF_BATCH_SYSTEMS = ("SIGTERM", "SIGHUP")
"""Signals by which a batch system ends a job. SIGUSR1 is our own, before the time is over."""
_TRIES = 20


@dataclass
class End:
    """How a launcher has ended.

    Attributes:
        stopped_by: why it was told to stop: the name of a signal, or its time limit; empty: it had nothing left to do.
    """

    stopped_by: str = ""


@contextlib.contextmanager
def recorded(site: Site, launch_id: int | None) -> Iterator[End]:
    """Around the work of a launcher: its launch is RUNNING, and then ENDED. Gives what is to be told of the end.

    A launch that is in no batch system is left as it is: nobody knows how many launchers it has.

    Args:
        site: the site.
        launch_id: the launch; None: it belongs to none.

    Raises:
        NotFound: there is no such launch. Later it may be deleted, and the launcher goes on with what is left.
        NotAllowed: it was cancelled, or has ended.
    """
    end = End()
    if launch_id is None:
        yield end
        return
    _begin(site, launch_id)
    message = ""
    try:
        yield end
    except BalsamError as error:
        message = str(error)
        raise
    finally:
        _end(site, launch_id, end, message)


def _begin(site: Site, launch_id: int) -> None:
    connection = Connection(site)
    try:
        me = f"process {os.getpid()} of {socket.gethostname()}"
        _record(connection, launch_id, _RUNNING, f"its launcher is {me}", begins=True)
    except (NotFound, NotAllowed) as error:
        raise type(error)(f"{ENV_LAUNCH_ID} = {launch_id}: {error}") from None
    finally:
        connection.close()
    log.info("of launch %d", launch_id)


def _end(site: Site, launch_id: int, end: End, message: str) -> None:
    connection = Connection(site)
    try:
        if others := _others(connection, launch_id):
            log.info("launch %d goes on with %s", launch_id, ", ".join(others))
        elif end.stopped_by in _OF_BATCH_SYSTEMS:
            _record(connection, launch_id, _RUNNING, f"its launcher is stopped by {end.stopped_by}")
        else:
            _record(connection, launch_id, _ENDED, message)
    except BalsamError as error:
        log.warning("launch %d was not told that its launcher has ended: %s", launch_id, error)
    finally:
        connection.close()


def _others(connection: Connection, launch_id: int) -> list[str]:
    """The other launchers of a launch that are at work, for people."""
    sessions = connection.call(SessionServiceStub, "ListSessions", ListSessionsRequest()).sessions
    me = (socket.gethostname(), os.getpid())
    of_launch = [one for one in sessions if one.HasField("launch") and one.launch == launch_id]
    return [f"launcher {one.host}:{one.pid}" for one in of_launch if (one.host, one.pid) != me]


def _record(
    connection: Connection,
    launch_id: int,
    state: launch_pb2.Launch.State.ValueType,
    message: str,
    *,
    begins: bool = False,
) -> None:
    for left in reversed(range(_TRIES)):
        request = launch_service_pb2.GetLaunchRequest(launch_id=launch_id)
        now = connection.call(LaunchServiceStub, "GetLaunch", request)
        # One that was taken for refused and has a launcher was accepted all the same.
        if begins and now.state in _WHY_NOT:
            raise NotAllowed(_WHY_NOT[now.state])
        if not now.batch_system or (not begins and now.state in _OVER):
            return
        change = launch_service_pb2.UpdateLaunchRequest(
            launch=launch_pb2.Launch(launch_id=launch_id, state=state, message=message),
            update_mask=FieldMask(paths=["state", "message"]),
            expected_revision=now.revision,
        )
        try:
            connection.call(LaunchServiceStub, "UpdateLaunch", change)
            return
        except Conflict:
            if not left:
                raise
