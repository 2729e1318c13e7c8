"""Calls about applications: plain values in, plain values out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask

from balsam.convert import application_message, application_values
from balsam.filters import filter_message, order_messages
from balsam.query import Key, Node
from balsam.v1 import application_service_pb2
from balsam.v1.application_service_pb2_grpc import ApplicationServiceStub

if TYPE_CHECKING:
    from balsam.client import Client


class ApplicationCalls:
    """The job store's service for applications."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def _call(self, method: str, request: Any) -> Any:
        return self._client.call(ApplicationServiceStub, method, request)

    def create(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Registers an application. Raises Conflict if the name is taken."""
        request = application_service_pb2.CreateApplicationRequest(application=application_message(values))
        return application_values(self._call("CreateApplication", request))

    def get(self, name: str) -> dict[str, Any]:
        """One application. Raises NotFound, which names those that exist."""
        request = application_service_pb2.GetApplicationRequest(name=name)
        return application_values(self._call("GetApplication", request))

    def pages(
        self, where: Node, order: Sequence[Key] = (), page_size: int = 0, fields: Iterable[str] | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """The applications that match, page by page, with all their fields."""
        request = application_service_pb2.ListApplicationsRequest(
            filter=filter_message(where), order_by=order_messages(order), page_size=page_size
        )
        while True:
            answer = self._call("ListApplications", request)
            yield [application_values(application) for application in answer.applications]
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def update(self, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Changes fields of an application; returns all of them."""
        request = application_service_pb2.UpdateApplicationRequest(
            application=application_message({**values, "name": name}), update_mask=FieldMask(paths=values)
        )
        return application_values(self._call("UpdateApplication", request))

    def delete(self, name: str) -> None:
        """Removes an application. Raises NotAllowed while unfinished jobs use it."""
        self._call("DeleteApplication", application_service_pb2.DeleteApplicationRequest(name=name))
