"""The jobs that a launcher holds: which wait, which run, and where. No I/O, no clock.

Jobs start in the order in which they were granted. The first that does not fit holds the others back: a job that needs
whole nodes would never get them if smaller ones kept slipping by. Nothing here looks at all jobs or all nodes, however
many there are, but what is asked for all of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence

from balsam_launcher.leased import LeasedJob
from balsam_launcher.placement import NodeLike, Placement


class Pool:
    """Leased jobs over the nodes of a launcher.

    Args:
        nodes: the nodes.
    """

    def __init__(self, nodes: Sequence[NodeLike]) -> None:
        self.placement = Placement(nodes)
        self.queued: dict[int, LeasedJob] = {}
        """By run id, in order: the next ones, which the node's agent starts by itself as soon as there is room."""
        self.running: dict[int, LeasedJob] = {}
        """By run id."""
        self._waiting: OrderedDict[int, LeasedJob] = OrderedDict()
        self._by_handle: dict[int, LeasedJob] = {}
        self._waiting_nodes = 0.0

    def __len__(self) -> int:
        return len(self._by_handle)

    @property
    def waiting(self) -> Collection[LeasedJob]:
        """Those that no agent has been told of, in the order in which they start."""
        return self._waiting.values()

    @property
    def held_nodes(self) -> float:
        """What is held, running and waiting, in nodes."""
        return self.placement.used + self._waiting_nodes

    def find(self, handle: int) -> LeasedJob | None:
        """The job with this handle, if it is held."""
        return self._by_handle.get(handle)

    def by_id(self, job_id: str) -> LeasedJob | None:
        """The job with this id, if it is held."""
        return next((leased for leased in self._by_handle.values() if leased.job.job_id == job_id), None)

    @property
    def handed_over(self) -> list[LeasedJob]:
        """The jobs that an agent has been told of, and may run."""
        return [*self.running.values(), *self.queued.values()]

    def run(self, run_id: int) -> LeasedJob | None:
        """The job of a run that an agent has been told of."""
        return self.running.get(run_id) or self.queued.get(run_id)

    def add(self, leased: LeasedJob) -> None:
        """Takes a job; it waits."""
        self._by_handle[leased.lease.handle] = leased
        self._waiting[leased.run_id] = leased
        self._waiting_nodes += leased.need.total

    def startable(self, ahead: int = 0) -> Iterator[LeasedJob]:
        """Moves waiting jobs onto nodes, in order, as long as they fit.

        Args:
            ahead: how many more may be queued behind them, at the agent of the only node.
        """
        while self._waiting:
            first = next(iter(self._waiting.values()))
            if first.after is not None and self.run(first.after.run_id) is not None:
                return
            if not self.queued and self._place(first):
                del self._waiting[first.run_id]
                self._leave_queue(first)
            elif len(self.queued) < ahead and self._may_queue(first):
                first.nodes = (0,)
                del self._waiting[first.run_id]
                self.queued[first.run_id] = first
            else:
                return
            yield first

    def put_back(self, leased: LeasedJob) -> None:
        """What an agent was told of and has not started waits here again, before all others."""
        if self.running.pop(leased.run_id, None) is not None:
            # There was room, and still it was not started: the agent had no trust, or the host was short of something.
            self._free(leased)
            self._waiting_nodes += leased.need.total
        else:
            del self.queued[leased.run_id]
        leased.nodes = ()
        self._waiting[leased.run_id] = leased
        self._waiting.move_to_end(leased.run_id, last=False)
        self._promote()

    def remove(self, leased: LeasedJob) -> None:
        """Lets a job go, waiting or running; what is queued takes its place, as the agent has seen to already."""
        if self._by_handle.get(leased.lease.handle) is leased:
            del self._by_handle[leased.lease.handle]
        if self.running.pop(leased.run_id, None) is not None:
            self._free(leased)
        elif (self.queued.pop(leased.run_id, None) or self._waiting.pop(leased.run_id, None)) is not None:
            self._leave_queue(leased)
        self._promote()

    def _place(self, leased: LeasedJob) -> bool:
        seats = self.placement.place(leased.need)
        if seats is None:
            return False
        leased.seats, leased.nodes = seats, seats.nodes
        self.running[leased.run_id] = leased
        return True

    def _free(self, leased: LeasedJob) -> None:
        assert leased.seats is not None
        self.placement.free(leased.seats)
        leased.seats = None

    def _may_queue(self, leased: LeasedJob) -> bool:
        """An agent keeps the books of shares only: who gets cores and GPUs of his own is decided here."""
        need = leased.need
        return self.placement.size == 1 and not need.own and self.placement.is_open(0, mpi=need.mpi)

    def _promote(self) -> None:
        while self.queued:
            first = next(iter(self.queued.values()))
            if not self._place(first):
                break
            del self.queued[first.run_id]
            self._leave_queue(first)

    def _leave_queue(self, leased: LeasedJob) -> None:
        waits = self._waiting or self.queued
        self._waiting_nodes = self._waiting_nodes - leased.need.total if waits else 0.0
