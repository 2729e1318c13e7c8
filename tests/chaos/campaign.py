"""A campaign from its plan to its result: processes, faults, the drain, and what was found."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from balsam.settings import Settings
from balsam.site import Site, make_site
from balsam.states import END, State
from balsam_jobstore.database import Database, sqlite_url
from balsam_jobstore.postgres import Cluster
from tests.chaos import leftovers
from tests.chaos.checker import CHECKS, LOST, OTHER, OVERLAP, STALE, Finding, check, reruns
from tests.chaos.faults import Faults
from tests.chaos.plan import Plan
from tests.chaos.records import History, read_history
from tests.chaos.supervisor import Supervisor

_TICK_SECONDS = 0.05
_STUCK_SECONDS = 90.0
"""Without any end of a job, though no fault was given: with free resources every runnable job starts."""
_KILL_GRACE_SECONDS = 2.0
_PATIENCE_SECONDS = 5.0
_SETTLE_SECONDS = 0.2
_AT_ANY_TIME = (
    "acknowledged_jobs_exist",
    "acknowledged_kills_stand",
    "results_have_a_run",
    "processes_stay_at_work",
    "no_traceback_in_a_log",
)
_SETTLED = "SELECT (SELECT count(*) FROM session WHERE kind <> 1), event_sequence FROM counter"


@dataclass
class Result:
    """What came out of a campaign."""

    plan: Plan
    directory: Path
    findings: list[Finding] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    own_exits: Counter[str] = field(default_factory=Counter)
    reruns: int = 0
    attempts: int = 0
    seconds: float = 0.0
    incomplete: str = ""
    """Why it did not get to its end; empty: it did."""

    @property
    def status(self) -> int:
        """Exit status: 0: nothing found, 1: something found, 2: it did not get to its end."""
        return 1 if self.findings else 2 if self.incomplete else 0


class Stream:
    """What the subscriber has written so far: where each job stands."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.states: dict[str, int] = {}
        self.ended = 0
        self.last = 0
        """The last sequence."""

    def read(self) -> None:
        """Reads what is new."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self._offset += len(data)
        for line in data.splitlines():
            self.last, job_id, states, *_ = json.loads(line)
            if states:
                self.ended += (states[-1] in END) - (self.states.get(job_id, 0) in END)
                self.states[job_id] = states[-1]


class Campaign:
    """One campaign.

    Args:
        plan: what is done.
        directory: an empty one, for everything.
        database: ``sqlite`` or ``postgres``.
        launchers: how many are always there.
        source: a checkout whose packages are tried; None: what is installed.
        max_minutes: when it is given up.
        job_stores: how many serve the site.
    """

    def __init__(
        self,
        plan: Plan,
        directory: Path,
        database: str,
        launchers: int,
        source: Path | None,
        max_minutes: float,
        job_stores: int = 1,
    ) -> None:
        self.result = Result(plan, directory)
        self._plan = plan
        self._directory = directory
        self._site = prepare(plan, directory, database, job_stores)
        self._cluster = Cluster(self._site.database / "postgres", self._site.run) if database == "postgres" else None
        self._supervisor = Supervisor(directory, self._site, launchers, source)
        self._max_seconds = 60 * max_minutes
        self._stream = Stream(directory / "stream.jsonl")

    def run(self) -> Result:
        """Does it all; nothing of it lives afterwards."""
        began = time.monotonic()
        try:
            self._go_through(began)
            self.result.seconds = time.monotonic() - began
            self.result.own_exits = self._supervisor.own_exits
            self._wind_up()
            self._check()
        finally:
            self._supervisor.kill_everything()
        return self.result

    def _go_through(self, began: float) -> None:
        """Until every job has ended, or it does not go on."""
        faults = Faults(self._directory, self._plan, self._supervisor, self._cluster)
        moved, last, given = began, -1, 0
        try:
            while True:
                self._supervisor.keep()
                self._stream.read()
                now, ended = time.monotonic(), self._stream.ended
                if ended != last or faults.given != given:
                    moved, last, given = now, ended, faults.given
                faults.give(ended / len(self._plan.jobs))
                if self._supervisor.done("users") and ended == len(self._plan.jobs) and faults.quiet:
                    return
                if now - moved > _STUCK_SECONDS:
                    self._found(LOST, "drained_in_time", f"no job has ended for {_STUCK_SECONDS:g} s: {ended} have")
                    return
                if now - began > self._max_seconds:
                    self.result.incomplete = f"{ended} jobs had ended after {self._max_seconds / 60:g} minutes"
                    return
                time.sleep(_TICK_SECONDS)
        finally:
            faults.end()

    def _wind_up(self) -> None:
        """Launchers go when told to, sessions of killed ones end with their lease, then the services go."""
        for problem in self._supervisor.gave_up:
            self._found(OTHER, "processes_stay_at_work", problem)
        for problem in self._supervisor.stop(*self._supervisor.launchers):
            self._found(OTHER, "processes_stop_when_asked", problem)
        deadline = time.monotonic() + 2 * self._plan.lease_seconds + _PATIENCE_SECONDS
        while not self._has_settled() and time.monotonic() < deadline:
            time.sleep(_SETTLE_SECONDS)
        for name in ("scheduler", *reversed(self._supervisor.job_stores)):
            for problem in self._supervisor.stop(name):
                self._found(OTHER, "processes_stop_when_asked", problem)
        self._supervisor.stop("subscriber", "users")
        self.result.findings += leftovers.of_processes(self._supervisor.remains())
        self._supervisor.kill_everything()

    def _has_settled(self) -> bool:
        """No session of a launcher is open, no ledger waits, and the subscriber has been told everything."""
        with self._connection() as connection:
            sessions, last = connection.execute(sa.text(_SETTLED)).one()
        self._stream.read()
        return bool(sessions == 0 and self._stream.last == last and not leftovers.ledgers(self._site))

    def _check(self) -> None:
        with self._running_database(), self._connection() as connection:
            history = read_history(self._directory, connection)
            found = [*check(history), *leftovers.of_database(connection)]
        self.result.findings += [*found, *leftovers.of_files(self._site)]
        if self.result.incomplete:  # what only a drain brings about cannot be asked for
            self.result.findings = [finding for finding in self.result.findings if _holds_at_any_time(finding)]
        self._count(history)

    def _count(self, history: History) -> None:
        result = self.result
        result.states = dict(Counter(State(row.state).name for row in history.jobs.values()))
        result.faults = Counter(f"{fault.kind} {fault.target}" for fault in history.faults)
        result.reruns = reruns(history)
        result.attempts = sum(row.attempt for row in history.jobs.values())
        records = [record for witness in history.witnesses.values() for record in witness]
        result.checked = {
            "rules": len(CHECKS),
            "histories": len(history.jobs),
            "events": len(history.events),
            "events told to the subscriber": len(history.stream),
            "witness files": len(history.witnesses),
            "witness records": len(records),
            "processes that took a job's lock": sum(record.kind == "begin" for record in records),
            "acknowledged additions": len(history.added),
            "acknowledged kills": len(history.killed),
            "resets": sum(action != "kill" for action in history.touched.values()),
        }

    def _found(self, kind: str, rule: str, text: str) -> None:
        self.result.findings.append(Finding(kind, rule, text))

    @contextlib.contextmanager
    def _running_database(self) -> Iterator[None]:
        if self._cluster is None:
            yield
            return
        self._cluster.start(self._site.log / "postgres.log")
        try:
            yield
        finally:
            self._cluster.stop()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        database = Database(self._cluster.url if self._cluster else sqlite_url(self._site.database))
        try:
            with database.reader() as connection:
                yield connection
        finally:
            database.close()


def _holds_at_any_time(finding: Finding) -> bool:
    return finding.kind in (STALE, OVERLAP) or finding.rule in _AT_ANY_TIME


def prepare(plan: Plan, directory: Path, database: str, job_stores: int = 1) -> Site:
    """Makes the site of a campaign, and what its processes read."""
    (directory / "witness").mkdir()
    plan.save(directory / "plan.json")
    for name in ("witness.sh", "handle.py"):
        shutil.copy(Path(__file__).with_name(name), directory / name)
    settings = Settings(
        database=database,
        job_stores=job_stores,
        lease_seconds=plan.lease_seconds,
        kill_grace_seconds=_KILL_GRACE_SECONDS,
        stop_margin_seconds=0.0,
        script_workers=4,
    )
    site = make_site(directory / "site", settings)
    site.make_run()
    return site
