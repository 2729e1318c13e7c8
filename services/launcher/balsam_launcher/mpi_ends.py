"""Ends of MPI runs, kept back until it is known that no node was lost under them. No I/O; time comes in.

A run command that loses a node ends as it sees fit: mostly with an error, and srun with 0 where the ranks that are left
end well. So an end counts once the agent of each node has answered a question that was put after it. While a node is
out of reach nobody knows; when it is known to be lost, so is the run, whatever its exit code says.

After an error the question is put a moment later: of a node that goes down, the processes end one after another, and
the ranks perhaps before the agent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from balsam_launcher.leased import LeasedJob
from balsam_launcher.reports import Report

SETTLE_SECONDS = 0.5
"""So long after an error the nodes are asked."""

PATIENCE_SECONDS = 180.0
"""A node of which nothing is heard for so long, not even that it was lost, counts as lost."""


@dataclass(slots=True, eq=False)
class MpiEnd:
    """The end of a run.

    Attributes:
        leased: the job.
        report: what is to be told of it if it counts.
        code: its exit code; -n: by signal n.
        seconds: how long it took [s].
        nodes: those that have not answered yet.
        ask_at: when these are asked, by any clock that only rises [s].
        until: when patience ends [s].
        question: the number of what they are asked; 0: they have not been asked yet.
    """

    leased: LeasedJob
    report: Report
    code: int
    seconds: float
    nodes: set[int] = field(default_factory=set)
    ask_at: float = 0.0
    until: float = 0.0
    question: int = 0


class MpiEnds:
    """The ends of a launcher's MPI runs.

    Args:
        ask: called with a node and the number of a question, which rises; the answer comes to `answered`, also after
            the node has been out of reach meanwhile.
        counts: called with an end under which no node was lost.
        lost: called with one under which a node was, and why.
    """

    def __init__(
        self,
        *,
        ask: Callable[[int, int], None],
        counts: Callable[[MpiEnd], None],
        lost: Callable[[MpiEnd, str], None],
    ) -> None:
        self._ask = ask
        self._counts = counts
        self._lost = lost
        self._questions = 0
        self._kept: dict[int, MpiEnd] = {}  # by run id
        self._by_node: dict[int, list[MpiEnd]] = {}

    @property
    def keeps(self) -> bool:
        """Whether any end is kept back."""
        return bool(self._kept)

    @property
    def kept(self) -> list[MpiEnd]:
        """Those that are kept back."""
        return list(self._kept.values())

    def doubts(self, node: int) -> bool:
        """Whether a run has failed that had this node, of which nothing has been heard since."""
        return any(end.code != 0 for end in self._by_node.get(node, ()))

    def ended(self, end: MpiEnd, nodes: Iterable[int], now: float) -> None:
        """Keeps an end back until these nodes have answered; there must be one at least."""
        end.nodes = set(nodes)
        end.ask_at = now + (SETTLE_SECONDS if end.code != 0 else 0.0)
        end.until = now + PATIENCE_SECONDS
        self._kept[end.leased.run_id] = end
        for node in end.nodes:
            self._by_node.setdefault(node, []).append(end)
        self._ask_if_due(end, now)

    def answered(self, node: int, question: int) -> bool:
        """A node has answered a question, and so lived after all ends that came before that.

        Returns: whether any end counts by that.
        """
        before = len(self._kept)
        for end in list(self._by_node.get(node, ())):
            if 0 < end.question <= question:
                self._remove(node, end)
                end.nodes.discard(node)
                if not end.nodes:
                    del self._kept[end.leased.run_id]
                    self._counts(end)
        return len(self._kept) < before

    def node_lost(self, node: int, reason: str) -> None:
        """A node was lost: so are the runs of which it has not been heard since they ended."""
        for end in list(self._by_node.get(node, ())):
            self._lose(end, reason, node)

    def agent_lost(self, node: int, reason: str) -> None:
        """The agent of a node has died, or cannot be started, and the node perhaps is well: what failed was lost."""
        for end in list(self._by_node.get(node, ())):
            if end.code != 0:
                self._lose(end, reason, node)

    def look(self, now: float, name: Callable[[int], str]) -> None:
        """Asks what is due, and gives up what has waited for too long; `name` of a node is for the reason."""
        for end in self.kept:
            self._ask_if_due(end, now)
            if end.until <= now:
                names = ", ".join(name(node) for node in sorted(end.nodes)[:3])
                self._lose(end, f"nothing was heard of {names} after the run")

    def take_all(self) -> list[MpiEnd]:
        """Nothing is kept back any longer: what becomes of these is for the caller to say."""
        taken = self.kept
        self._kept.clear()
        self._by_node.clear()
        return taken

    def _ask_if_due(self, end: MpiEnd, now: float) -> None:
        if not end.question and end.ask_at <= now:
            self._questions += 1
            end.question = self._questions
            for node in list(end.nodes):
                self._ask(node, end.question)

    def _lose(self, end: MpiEnd, reason: str, node: int | None = None) -> None:
        del self._kept[end.leased.run_id]
        for one in end.nodes:
            self._remove(one, end)
        if node is not None:
            end.nodes = {node}  # of the others nothing has been heard, and yet they may be well
        self._lost(end, reason)

    def _remove(self, node: int, end: MpiEnd) -> None:
        waiting = self._by_node[node]
        waiting.remove(end)
        if not waiting:
            del self._by_node[node]
