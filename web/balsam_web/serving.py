"""Serves the page on loopback until it is interrupted."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from balsam.client import Client
from balsam.errors import Conflict
from balsam.site import Site
from balsam_web.app import make_app
from balsam_web.board import Board
from balsam_web.door import Door

HOST = "127.0.0.1"
"""Nobody on another host gets here, but through an SSH tunnel of somebody who may log in."""

_RETRY_SECONDS = 2.0
"""How long a question waits for a job store that is away, before the page says so."""


class _Server(uvicorn.Server):
    """Ends the streams of browsers when it is asked to stop, which would otherwise hold it up."""

    def __init__(self, config: uvicorn.Config, board: Board) -> None:
        super().__init__(config)
        self._board = board
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until it is asked to stop."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal asks it to stop."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._board.close)


def serve(site: Site, port: int, show: Callable[[str, bool], None]) -> None:
    """Serves the page of a site until SIGINT or SIGTERM.

    Args:
        site: which; its job store runs.
        port: where, on loopback; 0: at a free port.
        show: told the link that lets a browser in, and whether it is the first; again, when that has been used.

    Raises:
        Conflict: the port is taken.
    """
    listening = _listen(port)
    port = listening.getsockname()[1]

    def link() -> str:
        return f"http://{HOST}:{port}/#token={door.token}"

    door = Door(used=lambda: show(link(), False))
    board = Board(site)
    app = make_app(Client(site, retry_seconds=_RETRY_SECONDS), board, door, f"balsam-web-{port}")
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        http="h11",
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=2,
    )
    server = _Server(config, board)
    _quieten()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        show(link(), True)
        asyncio.run(server.serve([listening]))
    except KeyboardInterrupt:
        pass  # uvicorn has stopped, and raises the signal again that it was stopped by
    finally:
        listening.close()


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(f"port {port} is taken; name another with --port, or none for a free one") from None
        raise
    return listening


def _quieten() -> None:
    """The page tells what goes wrong; a traceback is shown only to who asks for it."""
    if os.environ.get("BALSAM_DEBUG", "0") == "0":
        log = logging.getLogger("uvicorn")
        log.addHandler(logging.NullHandler())
        log.propagate = False
