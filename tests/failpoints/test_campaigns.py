"""A campaign during which one process fails at one point: everything ends well, nothing is lost, nothing runs twice.

With the slow tests each point fails in the way that tells most; without them one or two of each process do. With
``BALSAM_FAILPOINT_PAIRS=all`` in the environment, every point fails in every way, in every process that has it, over
both databases.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from balsam.failpoints import ENV_DIRECTORY, ENV_POINTS, POINTS
from tests.failpoints.supervision import (
    JOBS,
    SCRIPTS,
    Witnesses,
    left_over,
    run_campaign,
    supervised,
    wait_until_finished,
)
from tests.support.invariants import violations_of_site
from tests.support.sites import jobs, make_test_site, wait_until

LEASE_SECONDS = 2.0
PAUSE = "pause:3"
MID_CAMPAIGN = 12
"""So many groups are committed before the jobs are under way."""
CREATE_APPLICATION, CREATE_JOBS = 2, 6
"""Numbers of the calls of the campaign's script."""


@dataclass(frozen=True)
class Case:
    """A point, how it fails, and at which hit of which process."""

    point: str
    action: str
    process: str = ""
    nth: int = 1
    database: str = "sqlite"
    disturb: signal.Signals | None = None
    """Sent to `disturbed` when a run has begun: the point is on the way of what follows."""
    disturbed: str = "launcher"
    taken_over: bool = False
    """Another launcher comes when the point is reached."""
    long: float = 1.5
    """How long the longest job takes [s]."""
    before: str = ""
    """Another point, on the way to this one."""

    @property
    def setting(self) -> str:
        """The value of the variable."""
        where = f",in={self.process}" if self.process else ""
        return f"{self.before};{self.point}={self.action},hit={self.nth}{where},once"

    @property
    def label(self) -> str:
        """The name of the test."""
        nth = str(self.nth) if self.nth > 1 else ""
        return "-".join(filter(None, (self.point, self.action.partition(":")[0], self.process, nth, self.database)))

    @property
    def told_of(self) -> bool:
        """Whether who makes the jobs may be killed or told of an error; from all else the library shields him."""
        return self.action == "enospc" or (self.action, self.process) == ("kill", "client")


def _case(point: str, action: str, process: str = "", database: str = "sqlite", nth: int = 0) -> Case:
    nth = nth or _TELLING.get((point, process), _TELLING.get((point, ""), 1))
    disturb, disturbed = None, "launcher"
    if point in ("jobstore.in-sweep", "jobstore.in-session-end"):
        disturb = signal.SIGKILL
    elif point == "worker.before-close":
        disturb, disturbed = signal.SIGTERM, process
    case = Case(point, action, process, nth, database, disturb, disturbed)
    if point == "ledger.after-recovery":
        return replace(case, before="ledger.after-write=kill,once")
    if (point, action) == ("worker.before-reports", PAUSE):  # with somebody who takes over what still runs there
        return replace(case, taken_over=True, long=3.5)
    return case


_TELLING = {
    ("jobstore.in-group", ""): MID_CAMPAIGN,
    ("jobstore.before-commit", ""): MID_CAMPAIGN,
    ("jobstore.after-commit", ""): MID_CAMPAIGN,
    ("worker.before-message", ""): 2,  # grants; the first says that the worker is attached
    ("client.before-answer", "scheduler"): 2,  # of OpenSession
    ("client.before-answer", "client"): CREATE_JOBS,
}
"""(point, process) -> the hit that tells most, where it is not the first."""


EVERY_RUN = [
    _case("jobstore.after-migrate", "kill"),
    _case("jobstore.in-group", "enospc"),
    _case("jobstore.before-commit", "raise"),
    _case("jobstore.before-commit", "kill", database="postgres"),
    _case("jobstore.after-commit", "kill"),
    _case("jobstore.after-commit", "done-but-error", database="postgres"),
    _case("jobstore.in-attach", "enospc"),
    _case("jobstore.after-reports", "kill"),
    _case("jobstore.in-sweep", "kill"),
    _case("jobstore.in-session-end", "raise"),
    _case("scheduler.after-rules", "done-but-error"),
    _case("scheduler.after-script", "kill"),
    _case("scheduler.before-report", "kill"),
    _case("launcher.after-grant", "kill"),
    _case("launcher.after-order", PAUSE),
    _case("worker.before-reports", PAUSE, "launcher"),
    _case("worker.before-message", "done-but-error", "launcher"),
    _case("worker.before-close", "kill", "launcher"),
    _case("ledger.before-write", "enospc"),
    _case("ledger.after-write", "kill"),
    _case("ledger.after-recovery", "kill"),
    _case("agent.before-spawn", "raise:EAGAIN"),
    _case("agent.after-spawn", "kill"),
    _case("agent.before-notices", "kill"),
    _case("agent.after-reap", "kill"),
    _case("client.before-answer", "done-but-error", "client", nth=CREATE_APPLICATION),
    _case("client.before-answer", "done-but-error", "client", nth=CREATE_JOBS),
]

QUICK = {
    "jobstore.before-commit-kill-12-postgres",
    "jobstore.after-commit-kill-12-sqlite",
    "scheduler.before-report-kill-sqlite",
    "launcher.after-grant-kill-sqlite",
    "worker.before-reports-pause-launcher-sqlite",
    "ledger.after-write-kill-sqlite",
    "agent.after-spawn-kill-sqlite",
    "client.before-answer-done-but-error-client-6-sqlite",
}
"""Labels of what also fails where the slow tests are left out: before and after what each promise rests on."""


def _all_pairs() -> Iterator[Case]:
    for name, point in POINTS.items():
        for action in point.actions:
            if name == "agent.before-spawn":
                action = {"raise": "raise:EAGAIN", "enospc": "raise:ENOMEM"}.get(action, action)
            for process in _PROCESSES.get(name.partition(".")[0], ("",)):
                for database in ("sqlite", "postgres"):
                    yield _case(name, PAUSE if action == "pause" else action, process, database)


_PROCESSES = {"worker": ("launcher", "scheduler"), "client": ("launcher", "scheduler", "client")}
"""Who has the points of the library."""

ALL_PAIRS = os.environ.get("BALSAM_FAILPOINT_PAIRS") == "all"
CASES = list(_all_pairs()) if ALL_PAIRS else EVERY_RUN


def _marks(case: Case) -> list[pytest.MarkDecorator]:
    marks = [pytest.mark.postgres] if case.database == "postgres" else []
    return marks if ALL_PAIRS or case.label in QUICK else [*marks, pytest.mark.slow]


def test_every_point_fails_once_and_one_of_every_process_in_every_run() -> None:
    assert {case.point for case in EVERY_RUN} == POINTS.keys()
    quick = [case for case in EVERY_RUN if case.label in QUICK]
    assert len(quick) == len(QUICK)
    assert {case.point.partition(".")[0] for case in quick} == {point.partition(".")[0] for point in POINTS}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.label, marks=_marks(case)) for case in CASES],
)
def test_a_campaign_ends_well_whatever_fails(case: Case, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    database = "sqlite" if case.database == "sqlite" else str(request.getfixturevalue("postgres_url"))
    site = make_test_site(tmp_path, database, lease_seconds=LEASE_SECONDS)
    hits = tmp_path / "hits"
    hits.mkdir()
    environ = {ENV_POINTS: case.setting, ENV_DIRECTORY: str(hits)}
    witnesses = Witnesses(tmp_path)
    with supervised(site, environ) as running:
        run_campaign(site, witnesses, environ, long=case.long, tries=3 if case.told_of else 1)
        if case.disturb:
            wait_until(lambda: witnesses.lines("long"), what="a run", site=site)
            running.signal(case.disturbed, case.disturb)
        if case.taken_over:
            wait_until((hits / case.point).exists, what=case.setting, site=site)
            running.add_launcher()
        wait_until_finished(site)
        wait_until((hits / case.point).exists, what=case.setting, site=site)
        attempts = {job.name: job.attempt for job in jobs(site)}
    for name in (*JOBS, *SCRIPTS):
        lines = witnesses.lines(name)
        assert "end" in lines, name
        assert not {"overlap", "early"} & set(lines), (name, lines)
        assert lines.count("begin") <= attempts.get(name, len(lines)), (name, lines)
    wait_until(lambda: not left_over(str(hits)), 5, f"nothing is left, but {left_over(str(hits))}")
    assert violations_of_site(site) == []
