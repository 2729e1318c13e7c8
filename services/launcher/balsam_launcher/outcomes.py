"""What becomes of runs, as the agents tell it: from a notice to a report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from balsam_launcher import reports
from balsam_launcher.ahead import Ahead
from balsam_launcher.appetite import Appetite
from balsam_launcher.ends import Ends
from balsam_launcher.frames import Notice
from balsam_launcher.leased import Ending, LeasedJob
from balsam_launcher.orders import Orders
from balsam_launcher.pool import Pool
from balsam_launcher.reports import Report

log = logging.getLogger("balsam.launcher")

_BY_ORDER = (Ending.KILLED, Ending.REVOKED, Ending.LOST, Ending.NODE_LOST)


class Outcomes:
    """Hears the notices of a launcher's agents.

    Args:
        pool: its jobs.
        ends: takes the ends that nobody ordered.
        orders: takes the others.
        appetite: learns from all.
        ahead: is told when runs end.
        report: called with what is to be told of a run.
        report_late: called with what is to be told of a run whose session has ended.
    """

    def __init__(
        self,
        pool: Pool,
        ends: Ends,
        orders: Orders,
        appetite: Appetite,
        ahead: Ahead,
        *,
        report: Callable[[Report], None],
        report_late: Callable[[Report], None],
    ) -> None:
        self._pool = pool
        self._ends = ends
        self._orders = orders
        self._appetite = appetite
        self._ahead = ahead
        self._report = report
        self._report_late = report_late
        self.ended = 0
        """Runs that have ended, and those that could not be started."""
        self.errors = 0
        """How many of them by themselves and not well."""

    def told(self, notices: list[tuple[Any, ...]], now: float, *, closing: bool) -> None:
        """Agents tell something.

        Args:
            notices: what; see `frames.Notice`.
            now: the time, by the monotonic clock [s].
            closing: nothing more is started: what an agent drops goes back.
        """
        for notice in notices:
            kind = notice[0]
            if kind == Notice.LOG:
                log.warning("node agent: %s", notice[1])
                continue
            leased = self._pool.run(notice[1])
            if leased is None:
                continue
            if kind == Notice.ENDED:
                self._ended(leased, notice, now)
            elif kind == Notice.STARTED:
                self._started(leased, notice)
            elif kind == Notice.REFUSED:
                self.refused(leased, *notice[2:])
            elif kind == Notice.DROPPED:
                self._dropped(leased, closing)

    def refused(self, leased: LeasedJob, code: int, time_us: int, message: str) -> None:
        """A run could not be started.

        Args:
            leased: the job.
            code: what counts as its exit code.
            time_us: when that was, microseconds since 1970.
            message: why.
        """
        self.ended += 1
        self.errors += 1
        self._pool.remove(leased)
        self._ends.judge(leased, reports.refused(leased, code, time_us, message), code, 0.0, time.monotonic())

    def _started(self, leased: LeasedJob, notice: tuple[Any, ...]) -> None:
        _, _, leased.pid, leased.start_us = notice
        if leased.ending is not Ending.REVOKED:
            self._report(reports.running(leased))
            leased.announced = True

    def _ended(self, leased: LeasedJob, notice: tuple[Any, ...], now: float) -> None:
        _, _, returncode, start_us, end_us, message, stopped = notice
        seconds = (end_us - start_us) / 1e6
        self._appetite.learn(seconds, leased.need.total, now)
        if stopped and leased.ending is None:  # not by us: the agent does so by itself where trust ends
            leased.ending, leased.reason = Ending.LOST, "stopped: the job store was out of reach for a lease time"
        self.ended += 1
        self._ahead.last_end = now
        if returncode == 0:
            self._ends.closed.did_well(leased.agent)
        elif not stopped:
            self.errors += 1
        report = reports.ended(leased, returncode, start_us, end_us, message, stopped=stopped)
        if leased.ending is Ending.REVOKED and not stopped:
            self._report_late(report)  # it ended by itself: nobody else may have begun yet
        if stopped or leased.ending in _BY_ORDER:
            self._orders.finish(leased, report)
        else:
            self._pool.remove(leased)
            self._ends.ended(leased, report, returncode, seconds, now)

    def _dropped(self, leased: LeasedJob, closing: bool) -> None:
        if leased.ending is None and not closing:
            self._pool.put_back(leased)
        else:
            self._orders.finish(leased, reports.given_back(leased))
