"""A launcher ends when its launch is cancelled by somebody for whom the batch system does not end it: the owner of the
site, or whoever gave it up with `balsam cancel --force`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from balsam.errors import BalsamError, NotFound
from balsam.rpc import Connection
from balsam.site import Site
from balsam.v1 import launch_pb2, launch_service_pb2
from balsam.v1.launch_service_pb2_grpc import LaunchServiceStub

log = logging.getLogger("balsam.launcher")

_LOOK_SECONDS = 30.0


@contextlib.asynccontextmanager
async def heard_of(site: Site, launch_id: int | None, *, on_cancelled: Callable[[str], None]) -> AsyncIterator[None]:
    """Around the work of a launcher: looks now and then whether its launch was cancelled.

    Args:
        site: the site.
        launch_id: the launch; None: it belongs to none.
        on_cancelled: called with the reason, once.
    """
    if launch_id is None:
        yield
        return
    task = asyncio.create_task(_look(site, launch_id, on_cancelled))
    try:
        yield
    finally:
        task.cancel()


async def _look(site: Site, launch_id: int, on_cancelled: Callable[[str], None]) -> None:
    seconds = min(_LOOK_SECONDS, site.settings.lease_seconds / 2)
    while True:
        await asyncio.sleep(seconds)
        try:
            launch = await asyncio.to_thread(_get, site, launch_id)
        except NotFound:
            return  # it was deleted: what is left to do is done
        except BalsamError as error:
            log.debug("cannot look at launch %d: %s", launch_id, error)
            continue
        if launch.state == launch_pb2.Launch.CANCELLED:
            on_cancelled(f"launch {launch_id} was {launch.message or 'cancelled'}")
            return


def _get(site: Site, launch_id: int) -> launch_pb2.Launch:
    connection = Connection(site, retry_seconds=0)
    try:
        request = launch_service_pb2.GetLaunchRequest(launch_id=launch_id)
        launch: launch_pb2.Launch = connection.call(LaunchServiceStub, "GetLaunch", request)
        return launch
    finally:
        connection.close()
