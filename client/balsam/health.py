"""The health check: all that a caller without a credential gets. Whoever watches it holds a stream, so that there is a
bounded number of these, of all callers and of each host."""

from __future__ import annotations

from collections import Counter
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

MOST_WATCHES = 200
"""So many streams of all callers."""
MOST_WATCHES_OF_HOST = 20
"""So many of each host that comes by the network. A Unix socket is open to its own user only."""
_LONGEST_NAME = 200
_SOCKET = "unix"


class Health:
    """What `grpc_health` does, within bounds. Used in one loop."""

    def __init__(self) -> None:
        self._inner = HealthServicer()
        self._watches: Counter[str] = Counter()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any:
        """Says once whether a service serves."""
        return await self._inner.Check(request, context)

    async def List(self, request: Any, context: Any) -> Any:
        """Says it of all services, which is the server as a whole; newer callers may ask so."""
        return await self._inner.List(request, context)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        """Says it again whenever it changes."""
        host = _host(context.peer())
        if len(request.service) > _LONGEST_NAME:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        if self._watches.total() >= MOST_WATCHES or (host != _SOCKET and self._watches[host] >= MOST_WATCHES_OF_HOST):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch the health of this service")
        self._watches[host] += 1
        try:
            await self._inner.Watch(request, context)
        finally:
            self._watches[host] -= 1
            if not self._watches[host]:
                del self._watches[host]

    async def set(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        """The status of the server as a whole from now on."""
        await self._inner.set("", status)

    async def stop(self) -> None:
        """Not serving any more, for ever."""
        await self._inner.enter_graceful_shutdown()


def _host(peer: str) -> str:
    """Of gRPC's name of the other end: ``ipv4:10.0.0.7:4711``, ``ipv6:%5B::1%5D:4711``, ``unix:/run/x.sock``."""
    kind, _, rest = peer.partition(":")
    return kind if kind == _SOCKET else rest.rpartition(":")[0]
