"""A caller of the job store that may say anything: raw bytes, any token, any message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from balsam.rpc import CHANNEL_OPTIONS
from balsam.site import Site
from balsam.v1 import (
    application_service_pb2,
    archive_service_pb2,
    event_service_pb2,
    job_service_pb2,
    launch_service_pb2,
    output_service_pb2,
    session_service_pb2,
    site_service_pb2,
    user_service_pb2,
)

SERVICES: list[ServiceDescriptor] = [
    service
    for module in (
        site_service_pb2,
        job_service_pb2,
        launch_service_pb2,
        application_service_pb2,
        event_service_pb2,
        session_service_pb2,
        output_service_pb2,
        archive_service_pb2,
        user_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
]
"""The services of the job store."""

METHODS: dict[str, MethodDescriptor] = {
    f"{service.name}/{method.name}": method for service in SERVICES for method in service.methods
}
"""Service/Method -> its description, of all that the job store serves."""


@dataclass
class Refusal(Exception):
    """A call that was not answered."""

    code: str
    details: str
    reason: str = ""
    field: str = ""


class Client:
    """A channel to a job store, without the library's care.

    Args:
        site: the site of the job store.
        token: the credential; None: the owner's.
        patient: a call waits for a connection, on a machine that is too busy to make one at once.
    """

    def __init__(self, site: Site, token: str | None = None, *, patient: bool = False) -> None:
        self._patient = patient
        self.token = site.owner_token_file.read_text().strip() if token is None else token
        self._channel = grpc.insecure_channel(
            site.address("jobstore"), options=[*CHANNEL_OPTIONS, ("grpc.max_send_message_length", -1)]
        )

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def call(self, method: str, *requests: Any, token: str | None = None, timeout: float = 20.0) -> Any:
        """Calls a method with messages, or with bytes as they are; gives its (first) answer.

        Raises:
            Refusal: it was not answered.
        """
        try:
            answer = self.open(method, *requests, token=token, timeout=timeout)
            return next(answer, None) if METHODS[method].server_streaming else answer
        except grpc.RpcError as error:
            raise refusal(error) from None

    def open(self, method: str, *requests: Any, token: str | None = None, timeout: float | None = None) -> Any:
        """Calls a method; gives its answer, or the stream of its answers."""
        request = iter(requests) if METHODS[method].client_streaming else requests[0]
        return self.stream(method, request, token=token, timeout=timeout)

    def stream(self, method: str, request: Any, *, token: str | None = None, timeout: float | None = None) -> Any:
        """Calls a method with a message, or with an iterator of messages where it takes a stream."""
        kind = METHODS[method]
        path = f"/{kind.containing_service.full_name}/{kind.name}"
        maker: Any = {
            (False, False): self._channel.unary_unary,
            (False, True): self._channel.unary_stream,
            (True, False): self._channel.stream_unary,
            (True, True): self._channel.stream_stream,
        }[kind.client_streaming, kind.server_streaming]
        token = self.token if token is None else token
        metadata = [("authorization", f"Bearer {token}")] if token else []
        call = maker(path, _bytes, GetMessageClass(kind.output_type).FromString)
        return call(request, metadata=metadata, timeout=timeout, wait_for_ready=self._patient)


def refusal(error: grpc.RpcError) -> Refusal:
    """What a failed call says."""
    trailer: Any = error.trailing_metadata() or ()
    for key, value in trailer:
        if key == "grpc-status-details-bin":
            info = error_details_pb2.ErrorInfo()
            for packed in status_pb2.Status.FromString(value).details:
                if packed.Unpack(info):
                    return Refusal(
                        error.code().name, error.details() or "", info.reason, info.metadata.get("field", "")
                    )
    return Refusal(error.code().name, error.details() or "")


def empty(method: str) -> Any:
    """An empty request of a method."""
    return GetMessageClass(METHODS[method].input_type)()


def _bytes(message: Any) -> bytes:
    return message if isinstance(message, bytes) else bytes(message.SerializeToString())
