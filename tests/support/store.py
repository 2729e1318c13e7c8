"""A job store on a bench: the real database and the real commands, one transaction after the other, no process."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import sqlalchemy as sa

from balsam.fields import JOB_FIELDS
from balsam.site import Site
from balsam.states import Actor, State
from balsam_jobstore import applications, creation, edges, jobs, launches, leases, reading
from balsam_jobstore.access import RunTokens
from balsam_jobstore.creation import Created, NewJob
from balsam_jobstore.database import Database
from balsam_jobstore.events import EventFilter, read_events
from balsam_jobstore.history import EventRecord
from balsam_jobstore.jobs import Killed
from balsam_jobstore.leases import Credit, Delivery, Grant, Report, Stream
from balsam_jobstore.query import Node, Order
from balsam_jobstore.refusals import Refused
from balsam_jobstore.rows import Row
from balsam_jobstore.server.sessions import _rule
from balsam_jobstore.sessions import LAUNCHER, SCHEDULER, Session, new_id
from balsam_jobstore.store import Store, attach_stream, recover_reports
from balsam_jobstore.tx import Outcome, Tx
from balsam_jobstore.users import Users
from balsam_jobstore.writer import Writer
from balsam_scheduler.rules import RULES, SLOW_STATES

T = TypeVar("T")

S = State
RULE_SET = [_rule(index, rule) for index, rule in enumerate(RULES)]
"""The rules of the scheduler, as the job store holds them."""


class DirectWriter(Writer):
    """The writer without its thread: a command is a transaction, there and then."""

    async def do(self, command: Callable[[Tx], T]) -> T:
        """Runs a command in a transaction of its own."""
        return cast(T, self.do_together(command)[0])

    def _tell(self, outcome: Outcome) -> None:
        self._hooks.committed(outcome)

    def do_together(self, *commands: Callable[[Tx], Any]) -> list[Any]:
        """Runs commands in one transaction."""
        results, outcome = self.transact(list(commands))
        self._hooks.committed(outcome)
        return results


class Held:
    """A command that holds the writer up, so that others queue behind it."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, tx: Tx) -> None:
        self.reached.set()
        assert self.go.wait(20)


class Bench:
    """A job store, driven by hand. Everything that it commits is kept in `events`."""

    def __init__(self, database: Database, *, lease_seconds: float = 60.0) -> None:
        self.database = database
        self.events: list[EventRecord] = []
        self._directory = tempfile.TemporaryDirectory(prefix="balsam-bench-")
        self.set_aside = Path(self._directory.name)
        """Where damaged rows go."""
        self._runner = asyncio.Runner()
        self.store = self._runner.run(self._make(lease_seconds))
        self.writer = DirectWriter(database, self._runner.get_loop(), self.store)
        self.store.writer = self.writer
        publish = self.store.hub.publish

        def keep(events: Sequence[EventRecord]) -> None:
            self.events += events
            publish(events)

        self.store.hub.publish = keep  # type: ignore[method-assign]

    async def _make(self, lease_seconds: float) -> Store:
        settings = SimpleNamespace(lease_seconds=lease_seconds, audit_days=0)
        site = SimpleNamespace(settings=settings, set_aside=self.set_aside, data="/data")
        return Store(cast(Site, site), self.database, RunTokens(b"bench"), Users("me"))

    def close(self) -> None:
        """Gives the writer's connection back. Whatever was done, the counts of jobs by state are right."""
        kept, counted = self.counts(), dict(self.sql("SELECT state, count(*) FROM job GROUP BY state"))
        self.writer._drop_connection()
        self._runner.close()
        self._directory.cleanup()
        assert kept == counted

    def run(self, work: Awaitable[T]) -> T:
        """Runs something asynchronous, and meanwhile what has been started."""

        async def wait() -> T:
            return await work

        return self._runner.run(wait())

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Starts something asynchronous; it goes on during `run`."""
        return self._runner.get_loop().create_task(work)

    # Commands

    def do(self, command: Callable[[Tx], T]) -> T:
        """Runs a command in a transaction of its own."""
        return cast(T, self.writer.do_together(command)[0])

    def counts(self) -> dict[int, int]:
        """How many jobs are in each state, by the store's count."""
        with self.database.reader() as connection:
            return dict(reading.count_jobs(connection, self.database.is_sqlite, None, ["state"])[1])

    def sql(self, text: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        with self.database.reader() as connection:
            return [tuple(row) for row in connection.execute(sa.text(text), parameters)]

    # Jobs

    def create(self, *new: NewJob, atomic: bool = False, actor: Actor = Actor.USER) -> Created:
        """Adds jobs in one call."""
        return self.do(lambda tx: creation.create(tx, new, owner="me", actor=actor, atomic=atomic))

    def add(self, name: str = "", *, parents: Iterable[str] = (), **fields: Any) -> str:
        """Adds a job; gives its id."""
        new = job(name, parents=parents, **fields)
        outcome = self.create(new)
        assert not outcome.refusals, outcome.refusals
        return new.job_id

    def add_app(self, name: str, **fields: str) -> str:
        """Registers an application; gives its name."""
        values = {"name": name, "executable": "true"} | fields
        self.do(lambda tx: applications.create(tx, values, owner="me"))
        return name

    def add_launch(self, **fields: Any) -> int:
        """Records a launch; gives its id."""
        return self.do(lambda tx: launches.create(tx, fields, request_id=str(uuid.uuid4()), owner="me")).key

    def update_launch(self, launch_id: int, **changes: Any) -> None:
        """Changes fields of a launch."""
        self.do(lambda tx: launches.update(tx, launch_id, changes))

    def delete_launch(self, launch_id: int) -> None:
        """Removes a launch."""
        self.do(lambda tx: launches.delete(tx, launch_id))

    def update(self, job_id: str, *, expected_revision: int = 0, **changes: Any) -> None:
        """Changes fields of a job, as `save` does."""
        self.do(lambda tx: jobs.update(tx, one(tx, job_id), changes, expected_revision=expected_revision))

    def set_state(self, job_id: str, state: State, *, actor: Actor = Actor.USER, message: str = "") -> None:
        """Moves a job by hand."""
        self.do(lambda tx: jobs.set_state(tx, one(tx, job_id), state, actor, message))

    def kill(self, *job_ids: str, recursive: bool = False) -> Killed:
        """Kills jobs."""

        def command(tx: Tx) -> Killed:
            rows = [one(tx, job_id) for job_id in job_ids]
            return jobs.kill(tx, rows, recursive=recursive, actor=Actor.USER, message="killed by a user")

        return self.do(command)

    def delete(self, *job_ids: str, kill_running: bool = False) -> tuple[int, list[Refused]]:
        """Deletes jobs."""
        return self.do(lambda tx: jobs.delete(tx, [one(tx, i) for i in job_ids], kill_running=kill_running))

    def depend(self, parent: str, child: str) -> None:
        """Adds a dependency."""
        self.do(lambda tx: edges.add(tx, one(tx, parent), one(tx, child)))

    def undepend(self, parent: str, child: str) -> None:
        """Removes a dependency."""
        self.do(lambda tx: edges.remove(tx, one(tx, parent), one(tx, child)))

    # What there is

    def get(self, job_id: str) -> dict[str, Any]:
        """A job as readers see it."""
        with self.database.reader() as connection:
            found = reading.get_job(connection, job_id)
        assert found is not None, f"no job {job_id}"
        return found

    def row(self, job_id: str) -> SimpleNamespace:
        """A job as the store moves it: the columns of `job`."""
        with self.database.reader() as connection:
            found = connection.execute(sa.text("SELECT * FROM job WHERE job_id = :id"), {"id": job_id}).mappings()
            return SimpleNamespace(**found.one())

    def state(self, job_id: str) -> State:
        """Where a job stands."""
        return State(self.row(job_id).state)

    def states(self, *job_ids: str) -> list[State]:
        """Where jobs stand."""
        return [self.state(job_id) for job_id in job_ids]

    def history(self, job_id: str) -> list[State]:
        """The states that a job has been in, in order."""
        return [State(state) for event in self.events_of(job_id) for state in event.states]

    def events_of(self, job_id: str) -> list[EventRecord]:
        """The recorded events of a job."""
        with self.database.reader() as connection:
            return read_events(connection, EventFilter(frozenset({job_id})), 0, 10_000)

    def message(self, job_id: str) -> str:
        """The message of the last event of a job."""
        return self.events_of(job_id)[-1].message

    def list(
        self, node: Node | None = None, *orders: Order, size: int = 1000, token: str = "", fields: Sequence[str] = ()
    ) -> tuple[list[dict[str, Any]], str]:
        """A page of jobs, and the token of the next."""
        with self.database.reader() as connection:
            return reading.list_jobs(
                connection, self.database.is_sqlite, node, orders, size, token, reading.job_fields(fields)
            )

    # Sessions

    def schedule(self, *, states: Iterable[int] = SLOW_STATES, jobs: int = 0) -> Worker:
        """A scheduler: its session with its rules in force, and credit for so many scripts and stagings."""
        worker = self.worker(SCHEDULER, states=states)
        self.run(self.store.register_rules(worker.session, RULE_SET))
        if jobs:
            worker.give(nodes=1e9, jobs=jobs)
        return worker

    def launcher(
        self,
        *,
        workflow_filter: str = "",
        launch: int | None = None,
        owner_key: int = 1,
        trusted: str = "",
        **credit: Any,
    ) -> Worker:
        """A launcher: its session, and credit if any is given."""
        worker = self.worker(
            LAUNCHER, workflow_filter=workflow_filter, launch=launch, owner_key=owner_key, trusted=trusted
        )
        if credit:
            worker.give(**credit)
        return worker

    def worker(
        self,
        kind: int,
        *,
        states: Iterable[int] = (),
        workflow_filter: str = "",
        launch: int | None = None,
        owner_key: int = 1,
        trusted: str = "",
    ) -> Worker:
        """A session with its line."""
        session = Session(
            session_id=new_id(),
            request_id=new_id(),
            kind=kind,
            host="node1",
            pid=1,
            owner="me",
            version="1",
            create_us=0,
            nodes=1,
            job_mode="auto",
            workflow_filter=workflow_filter,
            address="",
            launch=launch,
            owner_key=owner_key,
            trusted=trusted,
        )
        return Worker(self, self.run(self.store.open_session(session)), states)

    def end(self, worker: Worker, reason: str = "was not heard of any more") -> int:
        """Ends a session; gives how many jobs it gave back."""
        return self.run(self.store.end_session(worker.session, reason))


class Worker:
    """One session, and all that was delivered to it."""

    def __init__(self, bench: Bench, session: Session, states: Iterable[int]) -> None:
        self.session = session
        self.grants: list[Grant] = []
        self.sizes: list[int] = []
        """Of messages with grants [bytes]."""
        self.stops: list[tuple[int, int]] = []
        self.drained = False
        self.replaced = False
        self._bench = bench
        self._states = states
        self._seen = 0
        self.attach()

    def attach(self, *held: Grant) -> None:
        """Opens a line (again), saying what is held."""
        self.grants, self.stops, self.drained, self.replaced, self.sizes = [], [], False, False, []
        self.stream = Stream(self.session, self._states, self._deliver)
        leases_held = [(grant.row_key, grant.fence) for grant in held]
        self._bench.do(lambda tx: attach_stream(self._bench.store, tx, self.stream, leases_held))

    def _deliver(self, delivery: Delivery) -> None:
        self.replaced |= delivery.grants_sent < 0
        self.grants += delivery.grants
        self.sizes += [delivery.size] if delivery.grants else []
        self.stops += delivery.stops
        self.drained |= delivery.drained
        self._seen = max(self._seen, delivery.grants_sent)

    @property
    def names(self) -> list[str]:
        """Names of the jobs granted so far, in order."""
        return [grant.name for grant in self.grants]

    def grant(self, name: str) -> Grant:
        """The last grant of a job."""
        return next(grant for grant in reversed(self.grants) if grant.name == name)

    def give(self, *, seen: int | None = None, **credit: Any) -> None:
        """Gives credit; by default without limits on size and with all grants seen."""
        values: dict[str, Any] = {"nodes": 100.0, "jobs": 100, "largest": 100} | credit
        seen = self._seen if seen is None else seen

        def command(tx: Tx) -> None:
            self.stream.set_credit(Credit(**values), seen)
            self.stream.dry = False

        self._bench.do(command)

    def ask_drained(self) -> bool:
        """Whether the store says that nothing more can come."""
        self.drained = False

        def command(tx: Tx) -> None:
            self.stream.asks_drained = True

        self._bench.do(command)
        return self.drained

    def report(
        self,
        grant: Grant,
        *states: State,
        release: bool = False,
        exit_code: int | None = None,
        message: str = "",
        fence: int = 0,
        spared: bool = False,
        node: str = "",
    ) -> bool:
        """Reports on a grant; gives whether that was accepted."""
        passages = [(int(state), 0) for state in states]
        what = Report(grant.row_key, fence or grant.fence, passages, exit_code, message, release, spared, node)
        return not self._bench.do(lambda tx: leases.apply_reports(tx, self.session, [what]))

    def report_late(self, grant: Grant, end: State = S.RUN_DONE, *, exit_code: int | None = None) -> bool:
        """Reports a whole run, as one whose session has ended does; gives whether that was accepted."""
        passages = [(int(S.RUNNING), 0), (int(end), 0)]
        what = Report(grant.row_key, grant.fence, passages, exit_code, "", True)
        session_id = self.session.session_id
        return not self._bench.do(lambda tx: recover_reports(self._bench.store, tx, session_id, [what]))

    def start(self, grant: Grant) -> None:
        """The run has started."""
        assert self.report(grant, S.RUNNING)

    def finish(self, grant: Grant, state: State = S.RUN_DONE, **report: Any) -> None:
        """The run has ended, whether its start has been reported or not."""
        started = self._bench.state(str(grant.job_id)) is S.RUNNING
        assert self.report(grant, *(() if started else (S.RUNNING,)), state, release=True, **report)


def job(name: str = "", *, job_id: str = "", parents: Iterable[str] = (), index: int = 0, **fields: Any) -> NewJob:
    """A job to add, its fields checked as the service does."""
    values = {field: JOB_FIELDS[field].check(value) for field, value in fields.items()}
    if name:
        values["name"] = JOB_FIELDS["name"].check(name)
    return NewJob(job_id or str(uuid.uuid4()), index, values, list(parents))


def one(tx: Tx, job_id: str) -> Row:
    """The row of a job."""
    row = next(jobs.existing_rows(tx, [job_id]))
    assert isinstance(row, Row), row.message
    return row
