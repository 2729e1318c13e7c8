"""Agents and nodes that are lost, or out of reach: what becomes of them and of their runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from balsam_launcher import reports
from balsam_launcher.closed_nodes import MOST_DEATHS
from balsam_launcher.ends import Ends
from balsam_launcher.fleet import HEAD, Fleet
from balsam_launcher.leased import Ending
from balsam_launcher.nodes import Node
from balsam_launcher.orders import Orders
from balsam_launcher.pool import Pool

log = logging.getLogger("balsam.launcher")


class Losses:
    """Hears what becomes of agents and nodes; a `fleet.Hearer`.

    Args:
        nodes: those of the launcher.
        pool: its jobs.
        agents: its agents.
        ends: those that nobody ordered, which may have been losses.
        orders: stops runs, and gives back jobs.
        grace_seconds: for runs that are stopped [s].
        settle: called when something has changed.
        hopeless: called with the reason when nothing can go on.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        pool: Pool,
        agents: Fleet,
        ends: Ends,
        orders: Orders,
        *,
        grace_seconds: float,
        settle: Callable[[], None],
        hopeless: Callable[[str], None],
    ) -> None:
        self._nodes = nodes
        self._pool = pool
        self._agents = agents
        self._ends = ends
        self._closed = ends.closed
        self._orders = orders
        self._grace = grace_seconds
        self._settle = settle
        self._hopeless = hopeless

    def on_head_back(self) -> None:
        """The agent of this host serves again."""
        self._settle()

    def on_hopeless(self, reason: str) -> None:
        """Nothing can be started any more."""
        self._hopeless(reason)

    def on_reach(self, node: int) -> None:
        """The agent of another node has come within reach, or gone out of it."""
        if node in self._closed.aside:
            return
        if self._agents.serves(node):
            self._closed.reached(node)
        else:
            log.warning("the node %s is out of reach", self._nodes[node].name)
            self._close(node)
        self._settle()

    def on_alive(self, node: int, question: int) -> None:
        """A node lived after it was asked this."""
        if self._ends.alive(node, question):
            self._settle()

    def on_node_down(self, node: int, reason: str) -> None:
        """A node was lost with all that ran there: MPI runs on it are over, whatever their run commands wait for."""
        if self._nodes[node].local:
            return  # its agent was; here we are
        for leased in self._pool.handed_over:
            if leased.agent == HEAD and node in leased.nodes and leased.ending is None:
                leased.node = self._nodes[node].name
                self._orders.stop(leased, Ending.NODE_LOST, reason, self._grace)
        self._ends.node_lost(node, reason)
        self._settle()

    def on_no_agent(self, node: int, reason: str, *, for_good: bool) -> None:
        """No agent could be started on a node, though others serve: what is wrong there, MPI runs would meet too."""
        if node in self._closed.aside:
            return
        name, reason = self._nodes[node].name, f"no node agent can be started there: {reason}"
        if for_good:
            self.set_aside(node, reason)
            self._ends.node_lost(node, f"the node {name} was set aside: {reason}")
        else:
            log.warning("%s gets nothing for now: %s", name, reason)
            self._close(node)
            self._ends.agent_lost(node, f"{name}: {reason}")
        self._settle()

    def on_agent_lost(self, agent: int, reason: str, *, blamed: bool) -> None:
        """An agent was lost, and what ran under it."""
        if blamed and agent != HEAD:
            self._ends.agent_lost(agent, reason)
            if self._closed.died(agent) and agent not in self._closed.aside:
                self.set_aside(agent, f"{MOST_DEATHS} times in a row its runs were lost; the last time: {reason}")
        # Of those that were queued, it may have started some.
        lost = [leased for leased in self._pool.handed_over if leased.agent == agent]
        log.error("%d runs were lost: %s", len(lost), reason)
        now_us = time.time_ns() // 1000
        for leased in lost:
            if leased.ending is Ending.KILLED:
                self._orders.finish(leased, reports.given_back(leased))
            else:
                leased.reason = reason
                self._orders.finish(leased, reports.lost(leased, now_us, blamed=blamed))
        self._settle()

    def set_aside(self, node: int, reason: str) -> None:
        """A node is to blame: it gets nothing more, for good."""
        log.error("%s is set aside: %s", self._nodes[node].name, reason)
        self._closed.set_aside(node, reason)
        self._give_back_larger()
        if len(self._closed.aside) == len(self._nodes):
            self._hopeless(f"every node was set aside; the last: {reason}")

    def _close(self, node: int) -> None:
        self._closed.close(node)
        self._give_back_larger()

    def _give_back_larger(self) -> None:
        self._orders.give_back_larger(self._pool.placement.open_count(mpi=True))
