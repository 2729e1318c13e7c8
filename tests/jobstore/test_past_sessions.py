"""Launchers' sessions that are over: one row each, and no more than are kept."""

from __future__ import annotations

import pytest

from balsam_jobstore import past_sessions
from balsam_jobstore.past_sessions import PastSession, ended_after
from tests.support.store import Bench


def ended(bench: Bench, time_us: int = 0) -> list[PastSession]:
    with bench.store.database.reader() as connection:
        return ended_after(connection, time_us)


def test_a_session_that_ends_leaves_what_it_had(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    assert ended(bench) == []
    bench.end(launcher)
    (one,) = ended(bench)
    session = launcher.session
    assert (one.session_id, one.host, one.pid, one.nodes) == (
        session.session_id,
        session.host,
        session.pid,
        session.nodes,
    )
    assert one.create_us == session.create_us < one.end_us
    assert ended(bench, one.end_us) == []
    assert ended(bench, one.end_us - 1) == [one]


def test_an_end_that_is_repeated_is_one(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    bench.end(launcher)
    bench.do(lambda tx: past_sessions.keep(tx, launcher.session.key))
    assert len(ended(bench)) == 1


def test_the_oldest_are_dropped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_sessions, "KEPT", 3)
    launchers = [bench.launcher(jobs=1) for _ in range(6)]
    for launcher in launchers:
        bench.end(launcher)
    assert [one.session_id for one in ended(bench)] == [one.session.session_id for one in launchers[3:]]
