"""The launcher's end of the line to its node agent: starts it and its warden, speaks with both, notices their death."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from balsam import failpoints
from balsam.processes import process_table, send
from balsam_launcher.frames import Decoder, Order, encode

_EXIT_SECONDS = 5.0


class AgentLink(asyncio.Protocol):
    """One agent process on this host, and its warden.

    Args:
        log_file: takes what the agent's Python may print when it fails.
        on_notices: called in the loop with the notices of each frame or several.
        on_lost: called in the loop when the agent is gone without having been told to go.
    """

    def __init__(
        self, log_file: Path, on_notices: Callable[[list[tuple[Any, ...]]], None], on_lost: Callable[[], None]
    ) -> None:
        self._log_file = log_file
        self._on_notices = on_notices
        self._on_lost = on_lost
        self._decoder = Decoder()
        self._orders: list[tuple[Any, ...]] = []
        self._transport: asyncio.Transport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._warden: socket.socket | None = None
        self._closing = False

    @property
    def pid(self) -> int:
        """Process id of the warden, whose child the agent is; 0: there is none."""
        return self._process.pid if self._process else 0

    async def start(self, environ: Mapping[str, str]) -> None:
        """Starts the agent, with the environment that it hands on to runs."""
        ours, theirs = socket.socketpair()
        self._warden, wardens = socket.socketpair()
        self._warden.setblocking(False)
        with theirs, wardens, self._open_log() as log:
            # A session of its own: what a terminal or a batch system sends to our group is for us to handle.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "balsam_launcher.warden", str(theirs.fileno()), str(wardens.fileno())],
                pass_fds=[theirs.fileno(), wardens.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=dict(environ),
                start_new_session=True,
            )
        loop = asyncio.get_running_loop()
        ours.setblocking(False)
        await loop.create_connection(lambda: self, sock=ours)

    def _open_log(self) -> IO[bytes]:
        try:
            return open(self._log_file, "ab")
        except OSError:  # a full disk must not stop anything
            return open(os.devnull, "ab")

    def order(self, *order: Any) -> None:
        """Something for the agent to do; goes out with `flush`."""
        self._orders.append(order)

    def flush(self) -> None:
        """Sends the orders there are, in one frame."""
        if self._orders and self._transport is not None:
            self._transport.write(encode(self._orders))
            failpoints.hit("launcher.after-order")
        self._orders.clear()

    def trust(self, until: float, grace: float, deadline: float) -> None:
        """Tells the agent when trust ends, and the warden when all that the agent runs must be gone; goes out at once.

        Args:
            until: the end of trust, by the monotonic clock.
            grace: of runs that are stopped then [s].
            deadline: by the monotonic clock.
        """
        self.order(Order.TRUST, until, grace)
        self.flush()
        if self._warden is not None:
            with contextlib.suppress(OSError):  # it is gone, or hangs: the agent is there
                self._warden.send(encode([(deadline,)]))

    def kill(self) -> None:
        """Ends an agent that does not do as it is told, its warden and its runs."""
        if self._process is not None and self._process.poll() is None:
            send(process_table().descendants([self._process.pid]), signal.SIGKILL)

    async def close(self) -> None:
        """Lets the agent go, with whatever it still runs, and waits for it."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()
        if self._warden is not None:
            self._warden.close()
        if self._process is None:
            return
        try:
            await asyncio.to_thread(self._process.wait, _EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ready."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Something came from the agent."""
        notices = list(self._decoder.feed(data))
        if notices:
            self._on_notices(notices)

    def connection_lost(self, error: Exception | None) -> None:
        """The agent is gone."""
        self._transport = None
        if self._closing or self._process is None:
            return
        self.kill()  # it may hang with its socket closed
        self._process.wait()
        if self._warden is not None:
            self._warden.close()
        self._on_lost()
