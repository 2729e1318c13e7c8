"""What is reported of runs that have ended, and when. No I/O; time comes in.

Most is reported at once. A failure that may not be of the job's own is kept back for a moment: one that came at once,
since the node may be to blame (see `quarantine`); and inside an allocation one by a signal, since the batch system ends
all processes of an allocation, and we may hear of its end after our runs did.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

from balsam_launcher import reports
from balsam_launcher.leased import Ending, LeasedJob
from balsam_launcher.quarantine import QUICK_SECONDS, Failure, Quarantine
from balsam_launcher.reports import Report

SIGNAL_SECONDS = 2.0
"""So long the end by a signal is kept back."""

_SIGNALS = frozenset(
    code
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGKILL)
    for code in (-number, 128 + number)
)


class Endings:
    """Ended runs of a launcher on their way to a report.

    Args:
        several_nodes: there is more than one node, so one can be told from others.
        in_allocation: a batch system may end our runs.
        report: called with a run and what is to be told of it.
        set_aside: called with a node that is to blame, and why.
    """

    def __init__(
        self,
        *,
        several_nodes: bool,
        in_allocation: bool,
        report: Callable[[LeasedJob, Report], None],
        set_aside: Callable[[int, str], None],
    ) -> None:
        self._several_nodes = several_nodes
        self._in_allocation = in_allocation
        self._report = report
        self._on_set_aside = set_aside
        self._quarantine = Quarantine(self._release, self._set_aside)
        self._kept: dict[int, tuple[LeasedJob, Report]] = {}
        self._signalled: dict[int, float] = {}
        self._blamed: dict[int, str] = {}
        self._stopping = ""

    @property
    def keeps(self) -> bool:
        """Whether anything is kept back."""
        return bool(self._kept)

    def is_suspect(self, node: int) -> bool:
        """Whether a node should be given nothing for now."""
        return self._quarantine.is_suspect(node)

    def ended(self, leased: LeasedJob, report: Report, code: int, seconds: float, now: float) -> None:
        """A run has ended by itself.

        Args:
            leased: the job.
            report: what is to be told of it.
            code: its exit code; -n: by signal n.
            seconds: how long it took [s]; 0 if it could not be started.
            now: the time, by any clock that only rises [s].
        """
        if code in _SIGNALS and self._in_allocation:
            if self._stopping:
                self._cut_off(leased, report)
                return
            self._kept[leased.run_id] = leased, report
            self._signalled[leased.run_id] = now + SIGNAL_SECONDS
            return
        if self._stopping or not self._tells_of_node(leased):
            self._report(leased, report)
        elif code == 0:
            self._report(leased, report)
            self._quarantine.did_well(leased.nodes[0], _application(leased))
        elif seconds > QUICK_SECONDS:
            self._report(leased, report)
            self._quarantine.failed_later(leased.nodes[0], _application(leased))
        elif leased.nodes[0] in self._blamed:
            self._spare(leased, report, self._blamed[leased.nodes[0]])  # it had begun when the others were judged
        else:
            self._kept[leased.run_id] = leased, report
            failure = Failure(leased.run_id, _application(leased), now, report.message)
            self._quarantine.failed_quickly(leased.nodes[0], failure)

    def lasts(self, leased: LeasedJob) -> None:
        """A run is still there after `QUICK_SECONDS`. Counts once."""
        if self._tells_of_node(leased) and not leased.lasts:
            leased.lasts = True
            self._quarantine.did_well(leased.nodes[0], _application(leased))

    def look(self, now: float) -> None:
        """Releases what has been kept back for long enough."""
        for run_id in [run_id for run_id, until in self._signalled.items() if until <= now]:
            del self._signalled[run_id]
            self._release(run_id)
        self._quarantine.look(now)

    def stopping(self, reason: str) -> None:
        """The launcher stops: whom a signal ended was stopped with it."""
        self._stopping = reason
        for run_id in self._signalled:
            self._cut_off(*self._kept.pop(run_id))
        self._signalled.clear()
        self._quarantine.release_all()

    def _cut_off(self, leased: LeasedJob, report: Report) -> None:
        leased.ending, leased.reason = Ending.TIMED_OUT, self._stopping
        self._report(leased, reports.cut_off(leased, report))

    def take_all(self) -> list[tuple[LeasedJob, Report]]:
        """The session has ended: what is kept back is for the caller to report in another way."""
        for run_id in list(self._signalled):
            del self._signalled[run_id]
        taken = list(self._kept.values())
        self._kept.clear()
        self._quarantine.release_all()
        return taken

    def _tells_of_node(self, leased: LeasedJob) -> bool:
        return self._several_nodes and len(leased.nodes) == 1 and not leased.need.mpi

    def _release(self, run_id: int) -> None:
        kept = self._kept.pop(run_id, None)
        if kept is not None:
            self._report(*kept)

    def _set_aside(self, node: int, reason: str, run_ids: list[int]) -> None:
        self._blamed[node] = reason
        for run_id in run_ids:
            kept = self._kept.pop(run_id, None)
            if kept is not None:
                self._spare(*kept, reason)
        self._on_set_aside(node, reason)

    def _spare(self, leased: LeasedJob, report: Report, reason: str) -> None:
        leased.reason = f"the node was set aside: {reason}"
        self._report(leased, reports.spared(leased, report))


def _application(leased: LeasedJob) -> int:
    return leased.program.program_id if leased.program is not None else 0
