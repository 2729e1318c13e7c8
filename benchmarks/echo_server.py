"""The barest gRPC server of asyncio: gives back what it gets. Runs until its standard input ends.

python -m benchmarks.echo_server SOCKET
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import grpc.aio

_SERVICE = "benchmarks.Echo"
METHOD = f"/{_SERVICE}/Echo"


async def _echo(message: bytes, context: Any) -> bytes:
    return message


async def _serve(socket: str) -> None:
    server = grpc.aio.server()
    method: Any = grpc.unary_unary_rpc_method_handler(_echo)  # the stub types know no coroutines
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Echo": method}),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
