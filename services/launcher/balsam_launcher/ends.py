"""Runs that have ended by themselves, from their end to their report, and what that tells of their nodes.

What is kept back is decided in `endings` and, for MPI runs, in `mpi_ends`; here both are asked again from time to time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from balsam_launcher import reports
from balsam_launcher.closed_nodes import ClosedNodes
from balsam_launcher.endings import Endings
from balsam_launcher.leased import Ending, LeasedJob
from balsam_launcher.mpi_ends import SETTLE_SECONDS, MpiEnd, MpiEnds
from balsam_launcher.nodes import Node
from balsam_launcher.placement import Placement
from balsam_launcher.quarantine import QUICK_SECONDS
from balsam_launcher.reports import Report
from balsam_launcher.timers import Later

log = logging.getLogger("balsam.launcher")

LOOK_SECONDS = 1.0
"""So often those that are kept back are looked at."""


class Witnesses(Protocol):
    """The agents of the nodes; see `Fleet`."""

    def serves(self, agent: int) -> bool:
        """Whether one is within reach."""

    def can_tell(self, node: int) -> bool:
        """Whether a node has an agent of its own, or one is still to come."""

    def ask(self, node: int, question: int) -> None:
        """Asks for a sign of life, which comes to `Ends.alive`."""


class Ends:
    """The ends of a launcher's runs that nobody ordered.

    Args:
        nodes: its nodes.
        agents: those of the nodes.
        placement: where nodes that are to blame are closed.
        in_allocation: a batch system may end our runs.
        is_reached: whether a node's agent is within reach, or it needs none.
        running: gives the jobs that run.
        report: called with a run and what is to be told of it.
        report_late: called with what is to be told of a run whose session has ended.
        set_aside: called with a node that is to blame, and why.
        later: makes a call later.
        looked: called when some time has passed and things may have changed by that.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        agents: Witnesses,
        placement: Placement,
        *,
        in_allocation: bool,
        is_reached: Callable[[int], bool],
        running: Callable[[], Iterable[LeasedJob]],
        report: Callable[[LeasedJob, Report], None],
        report_late: Callable[[Report], None],
        set_aside: Callable[[int, str], None],
        later: Later,
        looked: Callable[[], None],
    ) -> None:
        self._nodes = nodes
        self._agents = agents
        self._running = running
        self._report = report
        self._report_late = report_late
        self._later = later
        self._looked = looked
        self._stopping = False
        self._watches = False
        self._watches_mpi = False
        self._endings = Endings(
            several_nodes=len(nodes) > 1, in_allocation=in_allocation, report=report, set_aside=set_aside
        )
        self._mpi_ends = MpiEnds(ask=agents.ask, counts=self._counts, lost=self._lost)
        self.closed = ClosedNodes(placement, is_suspect=self._is_suspect, is_reached=is_reached)
        """The nodes that get nothing more."""

    @property
    def keeps(self) -> bool:
        """Whether any end is kept back."""
        return self._endings.keeps or self._mpi_ends.keeps

    def ended(self, leased: LeasedJob, report: Report, code: int, seconds: float, now: float) -> None:
        """A run has ended by itself.

        Args:
            leased: the job.
            report: what is to be told of it.
            code: its exit code; -n: by signal n.
            seconds: how long it took [s].
            now: the time, by the monotonic clock [s].
        """
        if leased.need.mpi and (nodes := self._nodes_to_ask(leased)):
            self._keep_back(MpiEnd(leased, report, code, seconds), nodes, now)
        else:
            self.judge(leased, report, code, seconds, now)

    def judge(self, leased: LeasedJob, report: Report, code: int, seconds: float, now: float) -> None:
        """The same of a run under which no node was lost, or which could not be started."""
        self._endings.ended(leased, report, code, seconds, now)
        if self._endings.keeps:
            self.closed.suspend(leased.nodes)
            if not self._watches:
                self._watches = True
                self._later(LOOK_SECONDS, self._look)

    def stopping(self, reason: str) -> None:
        """The launcher stops: all are decided now. Of the MPI runs, what is in reach lives."""
        for end in self._mpi_ends.take_all():
            lacking = [self._nodes[node].name for node in sorted(end.nodes) if not self._agents.serves(node)]
            if lacking:
                self._lost(end, f"{', '.join(lacking)} could not be reached when the launcher stopped")
            else:
                self._counts(end)
        self._stopping = True
        self._endings.stopping(reason)

    def revoke(self) -> None:
        """The session has ended: others may run these jobs already."""
        for _, report in self._endings.take_all():
            self._report_late(report)
        for end in self._mpi_ends.kept:
            end.leased.ending = Ending.REVOKED

    # What is heard of nodes

    def alive(self, node: int, question: int) -> bool:
        """A node has answered a question. Returns whether any end counts by that."""
        counts = self._mpi_ends.answered(node, question)
        if counts:
            self.closed.look()
        return counts

    def node_lost(self, node: int, reason: str) -> None:
        """A node was lost, or counts as lost."""
        self._mpi_ends.node_lost(node, reason)
        self.closed.look()

    def agent_lost(self, node: int, reason: str) -> None:
        """The agent of a node has died, or cannot be started, and the node perhaps is well."""
        self._mpi_ends.agent_lost(node, reason)
        self.closed.look()

    def _is_suspect(self, node: int) -> bool:
        return self._endings.is_suspect(node) or self._mpi_ends.doubts(node)

    # What was kept back for a moment, since it may not have been the job's own failure

    def _look(self) -> None:
        self._watches = self._endings.keeps or self.closed.suspends
        if not self._watches:
            return
        before = (time.time() - QUICK_SECONDS) * 1e6
        for leased in self._running():
            if 0 < leased.start_us < before:
                self._endings.lasts(leased)
        self._endings.look(time.monotonic())
        self.closed.look()
        self._later(LOOK_SECONDS, self._look)
        self._looked()

    # Ends of MPI runs, whose nodes may have been lost

    def _nodes_to_ask(self, leased: LeasedJob) -> list[int]:
        """Of an MPI run that has ended: the other hosts, as far as there are agents who can tell.

        MPI runs do not wait for the agents of their nodes: some may end, or lose a node, before these have come.
        """
        if self._stopping:
            return []
        return [node for node in leased.nodes if not self._nodes[node].local and self._agents.can_tell(node)]

    def _keep_back(self, end: MpiEnd, nodes: Sequence[int], now: float) -> None:
        self._mpi_ends.ended(end, nodes, now)
        self.closed.suspend(nodes)
        if end.code != 0:
            self._later(SETTLE_SECONDS, self._look_at_mpi)
        if not self._watches_mpi:
            self._watches_mpi = True
            self._later(LOOK_SECONDS, self._watch_mpi)

    def _look_at_mpi(self) -> None:
        self._mpi_ends.look(time.monotonic(), lambda node: self._nodes[node].name)
        self.closed.look()

    def _watch_mpi(self) -> None:
        self._look_at_mpi()
        self._watches_mpi = self._mpi_ends.keeps
        if self._watches_mpi:
            self._later(LOOK_SECONDS, self._watch_mpi)
        self._looked()

    def _counts(self, end: MpiEnd) -> None:
        if end.leased.ending is Ending.REVOKED:
            self._report_late(end.report)
        else:
            self.judge(end.leased, end.report, end.code, end.seconds, time.monotonic())

    def _lost(self, end: MpiEnd, reason: str) -> None:
        log.error("the MPI run of job %s, which ended with %d, was lost: %s", end.leased.job.job_id, end.code, reason)
        if end.leased.ending is not Ending.REVOKED:
            end.leased.reason = reason
            if end.nodes:  # one of those of which nothing has been heard
                end.leased.node = self._nodes[min(end.nodes)].name
            self._report(end.leased, reports.spared(end.leased, end.report))
