"""ApplicationService."""

from __future__ import annotations

from typing import Any

from balsam.errors import ValidationError
from balsam.fields import APPLICATION_FIELDS, Phase
from balsam.serving import CALLER
from balsam.v1 import application_pb2, application_service_pb2
from balsam.v1.application_service_pb2_grpc import ApplicationServiceServicer
from balsam_jobstore import applications, reading
from balsam_jobstore.applications import unknown_application
from balsam_jobstore.query import Test
from balsam_jobstore.server import convert
from balsam_jobstore.store import Store

pb = application_service_pb2

_GIVEN = [name for name, field in APPLICATION_FIELDS.items() if field.phase is not Phase.NEVER] + ["python"]


class ApplicationService(ApplicationServiceServicer):
    """Translates; the verbs are in `applications`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def CreateApplication(
        self, request: pb.CreateApplicationRequest, context: Any
    ) -> application_pb2.Application:
        """Registers an application."""
        values = convert.application_values(request.application, _GIVEN)
        for name in ("name", "executable"):
            if not values[name].strip():
                raise ValidationError(f"{name} is empty: an application needs one", field=name)
        owner = CALLER.get().user
        return convert.application_message(
            await self._store.writer.do(lambda tx: applications.create(tx, values, owner=owner))
        )

    async def GetApplication(self, request: pb.GetApplicationRequest, context: Any) -> application_pb2.Application:
        """One application."""
        name = _name(request.name)
        sqlite = self._store.database.is_sqlite

        def read(connection: Any) -> application_pb2.Application:
            test = Test("name", "exact", (name,))
            found, _ = reading.list_applications(connection, sqlite, test, [], 1, "")
            if not found:
                known, _ = reading.list_applications(connection, sqlite, None, [], 20, "")
                raise unknown_application(name, [values["name"] for values in known])
            return convert.application_message(found[0])

        return await self._store.read(read)

    async def ListApplications(self, request: pb.ListApplicationsRequest, context: Any) -> pb.ListApplicationsResponse:
        """A page of applications."""
        node = convert.optional_node(request)
        orders = convert.orders(request.order_by)
        size = reading.page_size(request.page_size)
        sqlite = self._store.database.is_sqlite
        found, token = await self._store.read(
            lambda connection: reading.list_applications(connection, sqlite, node, orders, size, request.page_token)
        )
        return pb.ListApplicationsResponse(
            applications=[convert.application_message(values) for values in found], next_page_token=token
        )

    async def UpdateApplication(
        self, request: pb.UpdateApplicationRequest, context: Any
    ) -> application_pb2.Application:
        """Changes an application."""
        names = list(request.update_mask.paths)
        values = convert.application_values(request.application, names)
        fixed = next((name for name in names if name not in _GIVEN or name == "name"), None)
        if fixed:
            raise ValidationError(f"{fixed} of an application cannot be changed", field=fixed)
        if not values.get("executable", "x").strip():
            raise ValidationError("executable is empty: an application needs one", field="executable")
        name = _name(request.application.name)
        updated = await self._store.writer.do(lambda tx: applications.update(tx, name, values))
        self._store.program_revisions[updated.key] = updated.revision
        return convert.application_message(updated)

    async def DeleteApplication(
        self, request: pb.DeleteApplicationRequest, context: Any
    ) -> pb.DeleteApplicationResponse:
        """Removes an application."""
        name = _name(request.name)
        await self._store.writer.do(lambda tx: applications.delete(tx, name))
        return pb.DeleteApplicationResponse()


def _name(name: str) -> str:
    return convert.plain_text(name, "name")
