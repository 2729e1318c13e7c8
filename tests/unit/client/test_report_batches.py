"""Reports of a launcher go in messages that can be sent, whatever its jobs have printed."""

from __future__ import annotations

import pytest

from balsam.report_batches import MOST_REPORTS, that_fit
from balsam.rpc import MAX_MESSAGE_BYTES
from balsam.v1.lease_pb2 import Report
from balsam.v1.session_service_pb2 import WorkRequest


@pytest.mark.parametrize("text", ["", "x", "�", "😀"])
@pytest.mark.parametrize("length", [10, 8000, 20_000_000])
def test_every_report_is_in_a_message_that_can_be_sent(text: str, length: int) -> None:
    reports = [Report(message=text * length)] * (3 if length > 8000 else 5000)
    sent = 0
    while batch := reports[sent : sent + that_fit(reports[sent:])]:
        size = WorkRequest(reports=WorkRequest.Reports(reports=batch)).ByteSize()
        assert len(batch) == 1 or size < MAX_MESSAGE_BYTES
        sent += len(batch)
    assert sent == len(reports)


def test_short_reports_go_many_at_once() -> None:
    assert that_fit([Report(message="exit code 1")] * 5000) == MOST_REPORTS
    assert that_fit([]) == 0
