"""ApplicationService."""

from __future__ import annotations

from typing import Any

from balsam.errors import ValidationError
from balsam.fields import APPLICATION_FIELDS, Phase
from balsam.serving import CALLER
from balsam.v1 import application_pb2, application_service_pb2
from balsam.v1.application_service_pb2_grpc import ApplicationServiceServicer
from balsam_jobstore import applications
from balsam_jobstore.applications import unknown_application
from balsam_jobstore.query import APPLICATIONS
from balsam_jobstore.rights import rights_of_caller
from balsam_jobstore.server import convert
from balsam_jobstore.server.calls import Call
from balsam_jobstore.server.pages import find_one, list_page
from balsam_jobstore.store import Store
from balsam_jobstore.tx import Tx

pb = application_service_pb2

_GIVEN = [name for name, field in APPLICATION_FIELDS.items() if field.phase is not Phase.NEVER] + ["python"]
_CHANGEABLE = [name for name in _GIVEN if name != "name"]


class ApplicationService(ApplicationServiceServicer):
    """Translates; the verbs are in `applications`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def CreateApplication(
        self, request: pb.CreateApplicationRequest, context: Any
    ) -> application_pb2.Application:
        """Registers an application."""
        call = Call(self._store, request, application_pb2.Application)
        values = convert.record_values(APPLICATION_FIELDS, APPLICATIONS.noun, request.application, _GIVEN)
        for name in ("name", "executable"):
            if not values[name].strip():
                raise ValidationError(f"{name} is empty: an application needs one", field=name)
        owner = CALLER.get().user

        def command(tx: Tx) -> application_pb2.Application:
            created = applications.create(tx, values, owner=owner)
            tx.note("CreateApplication", [created.name], created.executable)
            return _message(created)

        return await call.once(command)

    async def GetApplication(self, request: pb.GetApplicationRequest, context: Any) -> application_pb2.Application:
        """One application."""
        name = _name(request.name)
        found = await find_one(self._store, APPLICATIONS, "name", name)
        if found is None:
            known, _ = await list_page(self._store, APPLICATIONS, pb.ListApplicationsRequest(page_size=20))
            raise unknown_application(name, [values["name"] for values in known])
        return _message(found)

    async def ListApplications(self, request: pb.ListApplicationsRequest, context: Any) -> pb.ListApplicationsResponse:
        """A page of applications."""
        found, token = await list_page(self._store, APPLICATIONS, request)
        return pb.ListApplicationsResponse(applications=map(_message, found), next_page_token=token)

    async def UpdateApplication(
        self, request: pb.UpdateApplicationRequest, context: Any
    ) -> application_pb2.Application:
        """Changes an application."""
        call = Call(self._store, request, application_pb2.Application)
        values = convert.record_changes(
            APPLICATION_FIELDS, APPLICATIONS.noun, request.application, request.update_mask, _CHANGEABLE
        )
        if not values.get("executable", "x").strip():
            raise ValidationError("executable is empty: an application needs one", field="executable")
        name = _name(request.application.name)
        expected = request.expected_revision
        rights = rights_of_caller(self._store.users)

        def command(tx: Tx) -> application_pb2.Application:
            before = applications.get(tx, name)
            rights.check_record(f"application {name!r}", before.owner)
            updated = applications.update(tx, name, values, expected_revision=expected)
            revisions = self._store.program_revisions
            tx.news.programs.append((updated.key, updated.revision))
            tx.outcome.after_commit.append(lambda: revisions.update({updated.key: updated.revision}))
            tx.note("UpdateApplication", [name], ", ".join(values))
            return _message(updated)

        return await call.once(command)

    async def DeleteApplication(
        self, request: pb.DeleteApplicationRequest, context: Any
    ) -> pb.DeleteApplicationResponse:
        """Removes an application."""
        call = Call(self._store, request, pb.DeleteApplicationResponse)
        name = _name(request.name)
        rights = rights_of_caller(self._store.users)

        def command(tx: Tx) -> pb.DeleteApplicationResponse:
            rights.check_record(f"application {name!r}", applications.get(tx, name).owner)
            applications.delete(tx, name)
            tx.note("DeleteApplication", [name])
            return pb.DeleteApplicationResponse()

        return await call.once(command)


def _message(application: Any) -> application_pb2.Application:
    return convert.record_message(application_pb2.Application, APPLICATION_FIELDS, application)


def _name(name: str) -> str:
    return convert.plain_text(name, "name")
