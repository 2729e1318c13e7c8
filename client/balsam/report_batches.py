"""How many reports go into one message: so many, and of so many bytes that it can be sent."""

from __future__ import annotations

from collections.abc import Sequence

from balsam.rpc import MAX_MESSAGE_BYTES
from balsam.v1 import lease_pb2

MOST_REPORTS = 2000
_MOST_BYTES = MAX_MESSAGE_BYTES // 2
_REPORT_BYTES = 200
"""About so much of a report is not its message."""


def that_fit(reports: Sequence[lease_pb2.Report]) -> int:
    """How many of the first of these reports go into one message; at least one if there are any."""
    room = _MOST_BYTES
    for index, report in enumerate(reports[:MOST_REPORTS]):
        message = report.message
        room -= _REPORT_BYTES + (len(message) if message.isascii() else len(message.encode()))
        if room < 0 and index:
            return index
    return min(len(reports), MOST_REPORTS)
