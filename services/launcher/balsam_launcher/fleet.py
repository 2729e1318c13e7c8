"""All node agents of a launcher: the one of this host, and those of the other nodes. Who is told what."""

from __future__ import annotations

from typing import Any

from balsam.outputs import OutputFile
from balsam_launcher.agent_keeper import AgentKeeper
from balsam_launcher.ensemble import Ensemble
from balsam_launcher.needs import Need
from balsam_launcher.remote_agent import RemoteAgent

HEAD = -1
"""The agent of this host, which starts MPI run commands, and where there are no other nodes everything."""


class Fleet:
    """The agents, by number: HEAD, or that of a node.

    Args:
        head: the agent of this host.
        ensemble: those of the nodes; None: this host is the only node.
    """

    def __init__(self, head: AgentKeeper, ensemble: Ensemble | None) -> None:
        self._head = head
        self._ensemble = ensemble
        self._to_flush: set[int] = set()

    async def start(self) -> None:
        """Starts them. Those of other nodes come one by one.

        Raises:
            OSError: the address for other nodes is not of this host.
        """
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
