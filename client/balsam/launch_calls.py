"""Calls about launches."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar

from balsam.convert import launch_message, launch_values
from balsam.record_calls import RecordCalls
from balsam.v1 import launch_service_pb2
from balsam.v1.launch_service_pb2_grpc import LaunchServiceStub


class LaunchCalls(RecordCalls):
    """The job store's service for launches, which requests name by `launch_id`."""

    _noun, _plural, _identity = "Launch", "Launches", "launch_id"
    _messages: ClassVar[ModuleType] = launch_service_pb2
    _stub = LaunchServiceStub
    _message = staticmethod(launch_message)
    _values = staticmethod(launch_values)
