"""What is refused is logged, and the log stays short."""

from __future__ import annotations

import logging

import pytest

from balsam import refusal_log
from balsam.refusal_log import MOST_LINES, RefusalLog

METHOD = "/balsam.v1.JobService/KillJobs"
NOBODY = "who has no valid token"


class Log:
    """A log of refusals, and the time that it sees [s]."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now = 0.0
        self._caplog = caplog
        self.log = RefusalLog(logging.getLogger("balsam.test"), lambda: self.now)

    def refuse(self, count: int = 1, who: str = NOBODY, peer: str = "ipv4:10.0.0.7:4711") -> None:
        for _ in range(count):
            self.log.refused(METHOD, who, peer, "no valid token for this site")

    @property
    def lines(self) -> list[str]:
        lines = [record.getMessage() for record in self._caplog.records]
        self._caplog.clear()
        return lines


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    caplog.set_level(logging.WARNING)
    return Log(caplog)


@pytest.mark.parametrize(
    ("peer", "where"),
    [("ipv4:10.0.0.7:4711", "10.0.0.7"), ("ipv6:%5B::1%5D:4711", "[::1]"), ("unix:", "the Unix socket")],
)
def test_a_line_says_who_was_refused_what_and_where_they_are(log: Log, peer: str, where: str) -> None:
    log.refuse(who="ann (member)", peer=peer)
    assert log.lines == [f"refused JobService/KillJobs to ann (member) at {where}: no valid token for this site"]


def test_many_refusals_are_a_few_lines_and_a_number(log: Log) -> None:
    log.refuse(1000)
    assert len(log.lines) == MOST_LINES
    log.refuse(peer="ipv4:10.0.0.8:1")
    assert len(log.lines) == 1  # of another host
    log.now = 61.0
    log.log.tell_rest()
    assert log.lines == [f"refused {1000 - MOST_LINES} more calls to {NOBODY} at 10.0.0.7 within a minute"]
    log.refuse()
    assert len(log.lines) == 1


def test_of_very_many_hosts_few_are_remembered(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal_log, "_MOST_KNOWN", 3)
    for host in range(100):
        log.refuse(peer=f"ipv4:10.0.0.{host}:1")
    assert len(log.lines) == 3 + MOST_LINES
    log.now = 61.0
    log.refuse(peer="ipv4:10.0.0.99:1")
    assert log.lines == [
        f"refused {97 - MOST_LINES} more calls to others within a minute",
        f"refused JobService/KillJobs to {NOBODY} at 10.0.0.99: no valid token for this site",
    ]
