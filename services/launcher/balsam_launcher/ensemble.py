"""The node agents of an allocation: started by its run command, one on each node; they connect to us.

The run command (`srun`, `mpiexec`, ...) is used for nothing but starting them. When it ends, as many an MPI does with
the first rank that it loses, or when a node has none, it is started again for the nodes that lack an agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import subprocess
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from balsam_launcher.handshake import Hello, NotOurs, answer
from balsam_launcher.member import ENV_ENSEMBLE, ENV_LAUNCHER, ENV_NODES, ENV_SECRET
from balsam_launcher.remote_agent import SPEAKS_BADLY, RemoteAgent

log = logging.getLogger("balsam.launcher")

_HANDSHAKE_SECONDS = 10.0
_START_SECONDS = 120.0
"""So long a run command may take to start agents before it is said that it does not."""
_LOOK_SECONDS = 1.0
_PAUSE_SECONDS = (1.0, 60.0)
_MOST_VAIN_STARTS = 4
_LEAVE_SECONDS = 5.0
_BEATS_A_LEASE = 12
_BEAT_SECONDS = (0.25, 5.0)

VARIABLES = (ENV_LAUNCHER, ENV_SECRET, ENV_NODES, ENV_ENSEMBLE)
"""What members find in their environment; a run command that passes variables by name must be told of these."""


class Ensemble:
    """The agents of a launcher's nodes, and what starts them.

    Args:
        names: names of the nodes, by number.
        command: makes the command line that starts members on some of the nodes, given their names.
        environ: the environment that members are started with.
        address: of this host, as other nodes reach it.
        log_file: takes what the run command and members print.
        on_notices: called with what an agent tells.
        on_change: called with the number of a node whose agent has come within reach, or gone out of it.
        on_lost: called with the number of a node, why, and whether that is the node's own doing, when the runs that its
            agent had are certainly gone.
        on_hopeless: called with the reason when no agent can be started at all.
    """

    def __init__(
        self,
        names: Sequence[str],
        command: Callable[[Sequence[str]], Sequence[str]],
        environ: Mapping[str, str],
        address: str,
        log_file: Path,
        *,
        on_notices: Callable[[list[tuple[Any, ...]]], None],
        on_change: Callable[[int], None],
        on_lost: Callable[[int, str, bool], None],
        on_hopeless: Callable[[str], None],
    ) -> None:
        self._names = list(names)
        self._command = command
        self._environ = dict(environ)
        self._address = address
        self._log_file = log_file
        self._on_lost = on_lost
        self._on_hopeless = on_hopeless
        self._secret = secrets.token_bytes(32)
        self._mark = uuid.uuid4().hex
        self._server: asyncio.Server | None = None
        self._beat_seconds = _BEAT_SECONDS[1]
        self._starters: list[_Starter] = []
        self._ended_starters: set[int] = set()
        self._vain_starts = 0
        self._pause = _PAUSE_SECONDS[0]
        self._not_before = 0.0
        self._watcher: asyncio.Task[None] | None = None
        self._closing = False
        self.agents = [
            RemoteAgent(
                number,
                name,
                on_notices=on_notices,
                on_change=lambda agent: on_change(agent.node),
                on_lost=self._agent_lost,
            )
            for number, name in enumerate(names)
        ]

    async def start(self) -> None:
        """Listens, and starts the agents; they come one by one.

        Raises:
            OSError: the address is not of this host.
        """
        self._server = await asyncio.start_server(self._accept, self._address, 0, backlog=len(self._names) + 64)
        self._environ |= {ENV_LAUNCHER: self.address, ENV_SECRET: self._secret.hex(), ENV_ENSEMBLE: self._mark}
        self._watcher = asyncio.create_task(self._watch())

    @property
    def address(self) -> str:
        """Where agents connect to, as ``HOST:PORT``, once it is started."""
        assert self._server is not None
        return f"{self._address}:{self._server.sockets[0].getsockname()[1]}"

    def lease(self, seconds: float) -> None:
        """How long a lease lasts [s]: signs of life come several times in it."""
        self._beat_seconds = min(max(seconds / _BEATS_A_LEASE, _BEAT_SECONDS[0]), _BEAT_SECONDS[1])

    async def close(self) -> None:
        """Lets all agents go; they end what they still run."""
        self._closing = True
        if self._watcher is not None:
            self._watcher.cancel()
        for agent in self.agents:
            agent.close()
        await asyncio.sleep(0)
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*(starter.end(_LEAVE_SECONDS) for starter in self._starters))

    # Connections

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                hello = await answer(reader, writer, self._secret)
            await self._agent_of(hello).serve(hello, reader, writer, self._beat_seconds)
        except NotOurs as error:
            log.warning("somebody who is none of our node agents connected to %s: %s", self._address, error)
        except SPEAKS_BADLY as error:
            log.info("a line to a node agent ended: %s", error or type(error).__name__)
        finally:
            writer.close()

    def _agent_of(self, hello: Hello) -> RemoteAgent:
        if hello.node >= len(self.agents) or self._closing:
            raise NotOurs(f"there is no node {hello.node}")
        self._vain_starts = 0
        self._pause = _PAUSE_SECONDS[0]
        return self.agents[hello.node]

    def _agent_lost(self, agent: RemoteAgent, reason: str) -> None:
        # Where the run command has ended all agents, none of the nodes need be to blame.
        blamed = agent.node not in self._ended_starters
        self._ended_starters.discard(agent.node)
        self._on_lost(agent.node, reason if blamed else f"{reason}, as the run command of all agents did", blamed)

    # Starting

    async def _watch(self) -> None:
        while True:
            for starter in [starter for starter in self._starters if starter.has_ended]:
                self._starters.remove(starter)
                self._ended(starter)
            missing = self._missing()
            if missing and time.monotonic() >= self._not_before:
                self._start(missing)
            await asyncio.sleep(_LOOK_SECONDS if missing or not self._starters else 4 * _LOOK_SECONDS)

    def _missing(self) -> list[int]:
        """Nodes without an agent for which no run command is at work, or which one has had long enough to start."""
        now = time.monotonic()
        coming = {node for starter in self._starters if now < starter.patience_until for node in starter.nodes}
        return [agent.node for agent in self.agents if not agent.serves and agent.node not in coming]

    def _start(self, nodes: list[int]) -> None:
        names = [self._names[node] for node in nodes]
        environ = self._environ | {ENV_NODES: ",".join(f"{self._names[node]}={node}" for node in nodes)}
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _PAUSE_SECONDS[1])
        try:
            starter = _Starter(nodes, list(self._command(names)), environ, self._log_file)
        except OSError as error:
            self._in_vain(f"{error.filename}: {error.strerror}")
            return
        log.info("starting %d node agents: %s", len(nodes), " ".join(starter.words))
        self._starters.append(starter)

    def _ended(self, starter: _Starter) -> None:
        came = [node for node in starter.nodes if self.agents[node].ever_came]
        log.warning("the run command of %d node agents ended with %s", len(starter.nodes), starter.status)
        if came:
            self._ended_starters.update(node for node in came if not self.agents[node].serves)
        else:
            self._in_vain(starter.last_words or f"it ended with {starter.status}")

    def _in_vain(self, reason: str) -> None:
        self._vain_starts += 1
        log.error("no node agent was started: %s", reason)
        if self._vain_starts >= _MOST_VAIN_STARTS and not any(agent.serves for agent in self.agents):
            self._on_hopeless(f"no node agent can be started on {', '.join(self._names[:3])}: {reason}")


class _Starter:
    """A run command that starts members on some nodes."""

    def __init__(self, nodes: list[int], words: list[str], environ: Mapping[str, str], log_file: Path) -> None:
        self.nodes = nodes
        self.words = words
        self.patience_until = time.monotonic() + _START_SECONDS
        self._log_file = log_file
        with self._open_log() as log:
            self._began = log.seek(0, os.SEEK_END)
            # A session of its own: what a terminal or a batch system sends to our group is for us to handle.
            self._process = subprocess.Popen(
                words, env=dict(environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _open_log(self) -> IO[bytes]:
        try:
            return open(self._log_file, "ab")
        except OSError:  # a full disk must not stop anything
            return open(os.devnull, "ab")

    @property
    def has_ended(self) -> bool:
        """Whether the run command has."""
        return self._process.poll() is not None

    @property
    def status(self) -> str:
        """How it ended, for people."""
        code = self._process.poll()
        return "nothing" if code is None else f"exit status {code}" if code >= 0 else f"signal {-code}"

    @property
    def last_words(self) -> str:
        """The last line that came of it."""
        try:
            with open(self._log_file, "rb") as file:
                file.seek(self._began)
                lines = deque(file.read(1 << 16).decode("utf-8", "replace").splitlines(), maxlen=20)
        except OSError:
            return ""
        said = [line.strip() for line in lines if line.strip()]
        return said[-1] if said else ""

    async def end(self, patience: float) -> None:
        """Waits for its end; after `patience` seconds ends it."""
        for stop in (self._process.terminate, self._process.kill):
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, patience)
                return
            stop()
        await asyncio.to_thread(self._process.wait)
