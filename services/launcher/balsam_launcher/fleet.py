"""All node agents of a launcher: the one of this host, and those of the other nodes. Who is told what."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from balsam.outputs import OutputFile
from balsam_launcher.agent_keeper import AgentKeeper
from balsam_launcher.ensemble import Ensemble
from balsam_launcher.needs import Need
from balsam_launcher.remote_agent import RemoteAgent
from balsam_launcher.starting import Starter

HEAD = -1
"""The agent of this host, which starts MPI run commands, and where there are no other nodes everything."""


class Hearer(Protocol):
    """Who hears what becomes of agents and nodes; agents have the numbers of `Fleet`."""

    def on_head_back(self) -> None:
        """The agent of this host died, and another one serves."""

    def on_reach(self, node: int) -> None:
        """The agent of another node has come within reach, or gone out of it."""

    def on_agent_lost(self, agent: int, reason: str, *, blamed: bool) -> None:
        """The runs that an agent had are certainly gone; `blamed`: that is the node's own doing."""

    def on_alive(self, node: int, question: int) -> None:
        """A node has answered this question, and all before it."""

    def on_node_down(self, node: int, reason: str) -> None:
        """A whole node was lost."""

    def on_no_agent(self, node: int, reason: str, *, for_good: bool) -> None:
        """No agent could be started on a node, though others serve."""

    def on_hopeless(self, reason: str) -> None:
        """Nothing can be started any more."""


class Fleet:
    """The agents, by number: HEAD, or that of a node.

    Args:
        names: of the nodes.
        starter: what starts agents on other nodes; None: this host is the only node.
        environ: what they hand on to runs.
        log_file: takes what they print when they fail.
        on_notices: called with what they tell of runs; see `frames.Notice`.
    """

    def __init__(
        self,
        names: Sequence[str],
        starter: Starter | None,
        environ: Mapping[str, str],
        log_file: Path,
        on_notices: Callable[[list[tuple[Any, ...]]], None],
    ) -> None:
        self._hearer: Hearer | None = None
        self._to_flush: set[int] = set()
        lost = f"the node agent on {socket.gethostname()} was lost"
        hopeless = f"the node agent does not stay up; see {log_file}"
        self._head = AgentKeeper(
            environ,
            log_file,
            on_notices=on_notices,
            on_lost=lambda: self._hears.on_agent_lost(HEAD, lost, blamed=True),
            on_back=lambda: self._hears.on_head_back(),
            on_hopeless=lambda: self._hears.on_hopeless(hopeless),
        )
        self._ensemble = None if starter is None else self._of_nodes(names, starter, environ, log_file, on_notices)

    def _of_nodes(
        self,
        names: Sequence[str],
        starter: Starter,
        environ: Mapping[str, str],
        log_file: Path,
        on_notices: Callable[[list[tuple[Any, ...]]], None],
    ) -> Ensemble:
        return Ensemble(
            names,
            starter.command,
            environ,
            starter.address,
            log_file,
            on_notices=on_notices,
            on_change=lambda node: self._hears.on_reach(node),
            on_lost=lambda node, reason, blamed: self._hears.on_agent_lost(node, reason, blamed=blamed),
            on_alive=lambda node, question: self._hears.on_alive(node, question),
            on_down=lambda node, reason: self._hears.on_node_down(node, reason),
            on_vain=lambda node, reason, for_good: self._hears.on_no_agent(node, reason, for_good=for_good),
            on_hopeless=lambda reason: self._hears.on_hopeless(reason),
        )

    @property
    def _hears(self) -> Hearer:
        assert self._hearer is not None
        return self._hearer

    async def start(self, hearer: Hearer) -> None:
        """Starts them. Those of other nodes come one by one.

        Args:
            hearer: is told what becomes of them.

        Raises:
            OSError: the address for other nodes is not of this host.
        """
        self._hearer = hearer
        await self._head.start()
        if self._ensemble is not None:
            await self._ensemble.start()

    async def close(self) -> None:
        """Lets them go; they end what they still run."""
        if self._ensemble is not None:
            await self._ensemble.close()
        await self._head.close()

    def agent_for(self, need: Need, nodes: tuple[int, ...]) -> int:
        """Whose it is to start a run."""
        return HEAD if need.mpi or self._ensemble is None else nodes[0]

    def serves(self, agent: int) -> bool:
        """Whether it is there, within reach."""
        return self._of(agent).serves

    def order(self, agent: int, *order: Any) -> None:
        """Something for an agent to do, sent by `flush`."""
        self._of(agent).order(*order)
        self._to_flush.add(agent)

    def flush(self) -> None:
        """Sends the orders there are."""
        for agent in self._to_flush:
            self._of(agent).flush()
        self._to_flush.clear()

    @property
    def has_ensemble(self) -> bool:
        """Whether nodes have agents of their own, which come one by one."""
        return self._ensemble is not None

    def reaches(self, node: int) -> bool:
        """Whether the agent of a node is within reach, or it needs none."""
        return self._ensemble is None or self.serves(node)

    def lease(self, seconds: float) -> None:
        """How long a lease lasts [s]."""
        if self._ensemble is not None:
            self._ensemble.lease(seconds)

    def trust(self, until: float, grace: float, deadline: float) -> None:
        """Until when all may start runs and let them run, the grace at that end [s], and when all must be gone."""
        self._head.trust(until, grace, deadline)
        for agent in self._ensemble.agents if self._ensemble is not None else ():
            agent.trust(until, grace, deadline)

    def can_tell(self, node: int) -> bool:
        """Whether a node has an agent of its own, apart from that of this host, or one is still to come."""
        return self._ensemble is not None and self._ensemble.can_tell(node)

    def ask(self, node: int, question: int) -> None:
        """Asks a node's agent for a sign of life; see `RemoteAgent.ask`."""
        assert self._ensemble is not None
        self._ensemble.agents[node].ask(question)

    async def read_output(self, node: int, file: OutputFile, offset: int) -> tuple[bytes, int]:
        """Has a node's agent read a file there; see `OutputFile.read`.

        Raises:
            OSError: it cannot be read, or the agent does not answer.
        """
        assert self._ensemble is not None
        return await self._ensemble.agents[node].read_output(file, offset)

    def kill(self, agent: int) -> None:
        """Ends an agent that does not do as it is told."""
        self._of(agent).kill()

    def _of(self, agent: int) -> AgentKeeper | RemoteAgent:
        if agent == HEAD:
            return self._head
        assert self._ensemble is not None
        return self._ensemble.agents[agent]
