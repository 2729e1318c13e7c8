"""The node agents of an allocation: started by its run command, one on each node; they connect to us.

The run command (`srun`, `mpiexec`, ...) is used for nothing but starting them (`starters`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from balsam import descriptors
from balsam.errors import ValidationError
from balsam_launcher.handshake import Hello, NotOurs, answer
from balsam_launcher.line import Garbled
from balsam_launcher.member import ENV_ENSEMBLE, ENV_LAUNCHER, ENV_NODES, ENV_SECRET
from balsam_launcher.remote_agent import RemoteAgent
from balsam_launcher.starters import Starters

log = logging.getLogger("balsam.launcher")

_HANDSHAKE_SECONDS = 10.0
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
        on_alive: called with the number of a node, and that of the last question (`RemoteAgent.ask`) that it answered.
        on_down: called with the number of a node and why, when the whole node was lost.
        on_vain: called with the number of a node, why, and whether that was the last time, when no agent could be
            started there though others serve.
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
        on_alive: Callable[[int, int], None],
        on_down: Callable[[int, str], None],
        on_vain: Callable[[int, str, bool], None],
        on_hopeless: Callable[[str], None],
    ) -> None:
        self._environ = dict(environ)
        self._address = address
        self._on_lost = on_lost
        self._secret = secrets.token_bytes(32)
        self._mark = uuid.uuid4().hex
        self._server: asyncio.Server | None = None
        self._beat_seconds = _BEAT_SECONDS[1]
        self._ended_with_all: set[int] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._closing = False
        self.agents = [
            RemoteAgent(
                number,
                name,
                on_notices=on_notices,
                on_change=lambda agent: on_change(agent.node),
                on_lost=self._agent_lost,
                on_alive=lambda agent, question: on_alive(agent.node, question),
                on_down=lambda agent, reason: on_down(agent.node, reason),
            )
            for number, name in enumerate(names)
        ]
        self._starters = Starters(
            self.agents,
            command,
            self._environ,
            log_file,
            on_ended=self._ended_with_all.update,
            on_vain=on_vain,
            on_hopeless=on_hopeless,
        )

    async def start(self) -> None:
        """Listens, and starts the agents; they come one by one.

        Raises:
            ValidationError: the address is not of this host.
        """
        descriptors.have(4 * len(self.agents) + 1024)  # each node is a connection
        try:
            self._server = await asyncio.start_server(self._accept, self._address, 0, backlog=len(self.agents) + 64)
        except OSError as error:
            raise ValidationError(
                f"launcher_address = {self._address!r}: cannot listen there for other nodes: {error.strerror or error}",
                field="launcher_address",
            ) from None
        self._environ |= {ENV_LAUNCHER: self.address, ENV_SECRET: self._secret.hex(), ENV_ENSEMBLE: self._mark}
        self._watcher = asyncio.create_task(self._starters.run())

    @property
    def address(self) -> str:
        """Where agents connect to, as ``HOST:PORT``, once it is started."""
        assert self._server is not None
        return f"{self._address}:{self._server.sockets[0].getsockname()[1]}"

    def lease(self, seconds: float) -> None:
        """How long a lease lasts [s]: signs of life come several times in it."""
        self._beat_seconds = min(max(seconds / _BEATS_A_LEASE, _BEAT_SECONDS[0]), _BEAT_SECONDS[1])

    def can_tell(self, node: int) -> bool:
        """Whether the agent of a node has ever been there, or is still expected."""
        return self.agents[node].came_at > 0 or self._starters.expects(node)

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
        await self._starters.close(_LEAVE_SECONDS)

    # Connections

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                hello = await answer(reader, writer, self._secret)
            if not self._closing:
                await self._agent_of(hello).serve(hello, reader, writer, self._beat_seconds)
        except NotOurs as error:
            log.warning("somebody who is none of our node agents connected to %s: %s", self._address, error)
        except (Garbled, EOFError, OSError, TimeoutError) as error:
            log.info("a line to a node agent ended: %s", error or type(error).__name__)
        finally:
            writer.close()

    def _agent_of(self, hello: Hello) -> RemoteAgent:
        if hello.node >= len(self.agents):
            raise NotOurs(f"there is no node {hello.node}")
        self._starters.came(hello.node)
        return self.agents[hello.node]

    def _agent_lost(self, agent: RemoteAgent, reason: str) -> None:
        # Where the run command has ended all agents, none of the nodes need be to blame.
        blamed = agent.node not in self._ended_with_all
        self._ended_with_all.discard(agent.node)
        self._on_lost(agent.node, reason if blamed else f"{reason}, as the run command of all agents did", blamed)
