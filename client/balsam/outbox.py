"""Reports on their way to the job store: written down before they are sent, and kept until they are acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from balsam import failpoints
from balsam.ledger import Ledger, holds_result
from balsam.report_batches import that_fit
from balsam.v1 import lease_pb2, session_service_pb2

_IN_FLIGHT = 2
_SYNC_SECONDS = 0.5  # a result that is not acknowledged after so long is synced to the ledger's disk


class Outbox:
    """The reports of a `Worker`, over all its sessions. Lives in the loop.

    Args:
        ledger: takes results before they are sent, if they must outlive this process.
        in_background: has something done beside everything else.
    """

    def __init__(self, ledger: Ledger | None, in_background: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._ledger = ledger
        self._in_background = in_background
        self._timer: asyncio.TimerHandle | None = None
        self.late: list[lease_pb2.Report] = []
        """Results of sessions that have ended."""
        self._buffer: list[lease_pb2.Report] = []
        self._unacked: deque[session_service_pb2.WorkRequest.Reports] = deque()
        self._unsent = 0  # of the unacknowledged, how many the present stream has not carried
        self._number = 0
        self._settled = asyncio.Event()
        self._settled.set()

    # What comes in

    def add(self, session_id: str, reports: Sequence[lease_pb2.Report]) -> None:
        """Takes reports of a session."""
        self._write_down(session_id, reports)
        self._buffer += reports
        self._settled.clear()

    def add_late(self, session_id: str, report: lease_pb2.Report) -> None:
        """Takes the result of a run whose session has ended; `session_id` is that of now."""
        self._write_down(session_id, [report])
        self.late.append(report)
        self._settled.clear()

    def session_ended(self) -> None:
        """What is not acknowledged has come late; what is no result counts no more."""
        self.late = [report for report in self._unsettled() if holds_result(report)]
        self._buffer.clear()
        self._unacked.clear()

    # What goes out, and is acknowledged

    def send_again(self) -> None:
        """A stream begins: it carries all that is not acknowledged."""
        self._unsent = len(self._unacked)

    @property
    def waits(self) -> bool:
        """Whether there is anything that the present stream has not carried."""
        return bool(self._unsent or self._buffer)

    @property
    def gathers(self) -> bool:
        """Whether new reports have to wait for an acknowledgement of those in flight."""
        return bool(self._buffer) and len(self._unacked) - self._unsent >= _IN_FLIGHT

    @property
    def has_new(self) -> bool:
        """Whether there are reports that no message holds yet."""
        return bool(self._buffer)

    def next_message(self) -> session_service_pb2.WorkRequest.Reports | None:
        """What to send next; None: nothing."""
        if self._unsent:
            message = self._unacked[len(self._unacked) - self._unsent]
            message.send_time_us = time.time_ns() // 1000
            self._unsent -= 1
            return message
        if not self._buffer:
            return None
        self._number += 1
        count = that_fit(self._buffer)
        batch, self._buffer = self._buffer[:count], self._buffer[count:]
        sent_us = time.time_ns() // 1000
        message = session_service_pb2.WorkRequest.Reports(number=self._number, reports=batch, send_time_us=sent_us)
        self._unacked.append(message)
        failpoints.hit("worker.before-reports")
        return message

    def acknowledged(self, number: int) -> Iterator[lease_pb2.Report]:
        """The job store has taken all messages up to this number; gives their reports."""
        while self._unacked and self._unacked[0].number <= number:
            yield from self._unacked.popleft().reports

    def late_are_told(self, late: Sequence[lease_pb2.Report]) -> None:
        """These late results have been taken, or are lost."""
        self.late = [report for report in self.late if report not in late]
        self.see_whether_settled()

    # What must outlive us

    def see_whether_settled(self) -> None:
        """After something has been acknowledged."""
        if self._unacked or self._buffer or self.late:
            return
        self._settled.set()
        if self._ledger:
            self._ledger.settle()

    async def settle(self) -> None:
        """Waits until every report is acknowledged."""
        await self._settled.wait()

    def close(self) -> None:
        """Results that could not be told are left in the ledger."""
        if self._timer:
            self._timer.cancel()
        if self._ledger and self._settled.is_set():
            self._ledger.remove()
        elif self._ledger:
            self._ledger.sync()
            self._ledger.close()

    def _unsettled(self) -> list[lease_pb2.Report]:
        """What is not acknowledged."""
        sent = [report for message in self._unacked for report in message.reports]
        return [*self.late, *sent, *self._buffer]

    def _write_down(self, session_id: str, reports: Sequence[lease_pb2.Report]) -> None:
        if self._ledger is None or not self._ledger.append(session_id, reports):
            return
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SYNC_SECONDS, self._sync)
        if self._ledger.is_large:
            self._ledger.restart(session_id, self._unsettled())

    def _sync(self) -> None:
        """What is not acknowledged by now may not be for long: the host's death must not take it."""
        self._timer = None
        if self._ledger is not None and not self._settled.is_set():
            self._in_background(asyncio.to_thread(self._ledger.sync))
