"""LaunchService."""

from __future__ import annotations

from typing import Any

from balsam.errors import ValidationError
from balsam.fields import LAUNCH_FIELDS, MAX_INT, Phase, check_id
from balsam.serving import CALLER
from balsam.v1 import launch_pb2, launch_service_pb2
from balsam.v1.launch_service_pb2_grpc import LaunchServiceServicer
from balsam_jobstore import launches
from balsam_jobstore.query import LAUNCHES
from balsam_jobstore.rights import rights_of_caller
from balsam_jobstore.server import convert
from balsam_jobstore.server.calls import Call
from balsam_jobstore.server.pages import find_one, list_page
from balsam_jobstore.store import Store
from balsam_jobstore.tx import Tx

pb = launch_service_pb2

_SETTABLE = [name for name, field in LAUNCH_FIELDS.items() if field.phase is not Phase.NEVER]


class LaunchService(LaunchServiceServicer):
    """Translates; the verbs are in `launches`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def CreateLaunch(self, request: pb.CreateLaunchRequest, context: Any) -> launch_pb2.Launch:
        """Records a launch."""
        call = Call(self._store, request, launch_pb2.Launch)
        values = convert.record_values(LAUNCH_FIELDS, LAUNCHES.noun, request.launch, _SETTABLE)
        request_id = check_id(request.request_id, "request_id")
        owner = CALLER.get().user

        def command(tx: Tx) -> launch_pb2.Launch:
            created = launches.create(tx, values, request_id=request_id, owner=owner)
            tx.note("CreateLaunch", [str(created.key)])
            return _message(created)

        return await call.once(command)

    async def GetLaunch(self, request: pb.GetLaunchRequest, context: Any) -> launch_pb2.Launch:
        """One launch."""
        launch_id = _launch_id(request.launch_id)
        found = await find_one(self._store, LAUNCHES, "launch_id", launch_id)
        if found is None:
            raise launches.unknown_launch(launch_id)
        return _message(found)

    async def ListLaunches(self, request: pb.ListLaunchesRequest, context: Any) -> pb.ListLaunchesResponse:
        """A page of launches."""
        found, token = await list_page(self._store, LAUNCHES, request)
        return pb.ListLaunchesResponse(launches=map(_message, found), next_page_token=token)

    async def UpdateLaunch(self, request: pb.UpdateLaunchRequest, context: Any) -> launch_pb2.Launch:
        """Changes a launch."""
        call = Call(self._store, request, launch_pb2.Launch)
        launch_id = _launch_id(request.launch.launch_id)
        values = convert.record_changes(LAUNCH_FIELDS, LAUNCHES.noun, request.launch, request.update_mask, _SETTABLE)
        expected = request.expected_revision
        rights = rights_of_caller(self._store.users)

        def command(tx: Tx) -> launch_pb2.Launch:
            rights.check_record(f"launch {launch_id}", launches.get(tx, launch_id).owner)
            updated = launches.update(tx, launch_id, values, expected_revision=expected)
            tx.note("UpdateLaunch", [str(launch_id)], ", ".join(values))
            return _message(updated)

        return await call.once(command)

    async def DeleteLaunch(self, request: pb.DeleteLaunchRequest, context: Any) -> pb.DeleteLaunchResponse:
        """Removes a launch."""
        call = Call(self._store, request, pb.DeleteLaunchResponse)
        launch_id = _launch_id(request.launch_id)
        rights = rights_of_caller(self._store.users)

        def command(tx: Tx) -> pb.DeleteLaunchResponse:
            rights.check_record(f"launch {launch_id}", launches.get(tx, launch_id).owner)
            launches.delete(tx, launch_id)
            tx.note("DeleteLaunch", [str(launch_id)])
            return pb.DeleteLaunchResponse()

        return await call.once(command)


def _message(launch: Any) -> launch_pb2.Launch:
    return convert.record_message(launch_pb2.Launch, LAUNCH_FIELDS, launch)


def _launch_id(number: int) -> int:
    if not 1 <= number <= MAX_INT:
        raise ValidationError(f"launch_id = {number}: must be the id of a launch, 1 or more", field="launch_id")
    return number
