"""The batch launch that a launcher belongs to hears when the launcher comes up, and when it ends by itself.

Of one that is killed, the batch system tells whoever looks after the launches.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator

from google.protobuf.field_mask_pb2 import FieldMask

from balsam.errors import BalsamError, Conflict, NotAllowed, NotFound
from balsam.fields import LAUNCHER_IS
from balsam.rpc import Connection
from balsam.site import Site
from balsam.v1 import launch_pb2, launch_service_pb2
from balsam.v1.launch_service_pb2_grpc import LaunchServiceStub
from balsam_launcher.options import ENV_LAUNCH_ID

log = logging.getLogger("balsam.launcher")

_RUNNING, _ENDED, _CANCELLED = launch_pb2.Launch.RUNNING, launch_pb2.Launch.ENDED, launch_pb2.Launch.CANCELLED
_OVER = (_ENDED, launch_pb2.Launch.SUBMIT_FAILED, _CANCELLED)
_WHY_NOT = {_CANCELLED: "it was cancelled", _ENDED: "it has ended, and the jobs bound to it are free"}
_TRIES = 20


@contextlib.contextmanager
def recorded(site: Site, launch_id: int | None) -> Iterator[None]:
    """Around the work of a launcher: its launch is RUNNING, and then ENDED.

    A launch that is in no batch system is left as it is: nobody knows how many launchers it has.

    Args:
        site: the site.
        launch_id: the launch; None: it belongs to none.

    Raises:
        NotFound: there is no such launch. Later it may be deleted, and the launcher goes on with what is left.
        NotAllowed: it was cancelled, or has ended.
    """
    if launch_id is None:
        yield
        return
    _begin(site, launch_id)
    message = ""
    try:
        yield
    except BalsamError as error:
        message = str(error)
        raise
    finally:
        _end(site, launch_id, message)


def _begin(site: Site, launch_id: int) -> None:
    connection = Connection(site)
    try:
        _record(connection, launch_id, _RUNNING, f"{LAUNCHER_IS}process {os.getpid()} of {socket.gethostname()}")
    except (NotFound, NotAllowed) as error:
        raise type(error)(f"{ENV_LAUNCH_ID} = {launch_id}: {error}") from None
    finally:
        connection.close()
    log.info("of launch %d", launch_id)


def _end(site: Site, launch_id: int, message: str) -> None:
    connection = Connection(site)
    try:
        _record(connection, launch_id, _ENDED, message)
    except BalsamError as error:
        log.warning("launch %d was not told that its launcher has ended: %s", launch_id, error)
    finally:
        connection.close()


def _record(connection: Connection, launch_id: int, state: launch_pb2.Launch.State.ValueType, message: str) -> None:
    for left in reversed(range(_TRIES)):
        request = launch_service_pb2.GetLaunchRequest(launch_id=launch_id)
        now = connection.call(LaunchServiceStub, "GetLaunch", request)
        # One that was taken for refused and has a launcher was accepted all the same.
        if now.state in _WHY_NOT and state == _RUNNING:
            raise NotAllowed(_WHY_NOT[now.state])
        if not now.batch_system or (state == _ENDED and now.state in _OVER):
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
