"""Runs that are ended by order, and jobs that are given back before they ran."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from balsam_launcher import reports
from balsam_launcher.fleet import Fleet
from balsam_launcher.frames import Order
from balsam_launcher.leased import Ending, LeasedJob
from balsam_launcher.pool import Pool
from balsam_launcher.reports import Report
from balsam_launcher.timers import Later

STUCK_SECONDS = 3.0
"""An agent that has not ended runs so long after their time hangs."""


class Orders:
    """What a launcher orders that is no start.

    Args:
        pool: its jobs.
        agents: who is told.
        report: called with what is to be told of a job.
        later: makes a call later.
    """

    def __init__(self, pool: Pool, agents: Fleet, *, report: Callable[[Report], None], later: Later) -> None:
        self._pool = pool
        self._agents = agents
        self._report = report
        self._later = later

    def finish(self, leased: LeasedJob, report: Report) -> None:
        """Lets a job go, and tells what became of it, if it is ours to tell."""
        self._pool.remove(leased)
        if leased.ending is not Ending.REVOKED:
            self._report(report)

    def stop(self, leased: LeasedJob, ending: Ending, reason: str, grace: float) -> None:
        """Stops what an agent was told of: with SIGTERM, and SIGKILL after the grace [s]."""
        # A kill stays a kill, and what is not ours any more stays so.
        if leased.ending not in (Ending.KILLED, Ending.REVOKED) or ending is Ending.REVOKED:
            leased.ending, leased.reason = ending, reason
        self._agents.order(leased.agent, Order.STOP, leased.run_id, grace)

    def let_go(self, leased: LeasedJob, ending: Ending, reason: str, grace: float) -> None:
        """Stops a job, or gives it back if it only waits."""
        if self._pool.run(leased.run_id) is not None:
            self.stop(leased, ending, reason, grace)
            return
        self._pool.remove(leased)
        if ending is not Ending.REVOKED:
            self._report(reports.given_back(leased))

    def give_back_waiting(self) -> None:
        """Gives back what no agent was told of."""
        for leased in list(self._pool.waiting):
            self.finish(leased, reports.given_back(leased))

    def give_back_larger(self, nodes: int) -> None:
        """Gives back what waits for more nodes than there are: it would hold up all others."""
        for leased in [leased for leased in self._pool.waiting if leased.need.mpi and leased.need.nodes > nodes]:
            self.finish(leased, reports.given_back(leased))

    def drop(self, queued: Iterable[LeasedJob]) -> None:
        """Takes back what agents were told of and have not started."""
        for leased in queued:
            self._agents.order(leased.agent, Order.DROP, leased.run_id)
        self._agents.flush()

    def insist(self, handed_over: Sequence[LeasedJob]) -> None:
        """These runs must be gone soon, even if the agent hangs: then it is killed, and all runs with it."""

        def look() -> None:
            for agent in {leased.agent for leased in handed_over if self._pool.run(leased.run_id)}:
                self._agents.kill(agent)

        if handed_over:
            self._later(STUCK_SECONDS, look)
