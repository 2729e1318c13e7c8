"""Calls about applications."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar

from balsam.convert import application_message, application_values
from balsam.record_calls import RecordCalls
from balsam.v1 import application_service_pb2
from balsam.v1.application_service_pb2_grpc import ApplicationServiceStub


class ApplicationCalls(RecordCalls):
    """The job store's service for applications, which requests name by `name`."""

    _noun, _plural, _identity = "Application", "Applications", "name"
    _messages: ClassVar[ModuleType] = application_service_pb2
    _stub = ApplicationServiceStub
    _message = staticmethod(application_message)
    _values = staticmethod(application_values)
