"""Random programs of calls of the Python API do what the job model says, over both databases, and whatever crashes.

In some programs the job store is killed, also amid calls, and started again. A few programs are in every run of the
tests, many with the slow ones: BALSAM_TEST_PROGRAMS and BALSAM_TEST_STEPS say how many and how long,
BALSAM_TEST_CRASHES how many in a hundred have crashes.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

import balsam
from balsam import BalsamJob, Count, Q, QueuedLaunch
from balsam import client as clients
from balsam.errors import BalsamError
from balsam.launcher import dag
from balsam.states import State
from tests.support.hands import Hands, Rules
from tests.support.in_flight import REPEATABLE, VERBS, Call, CallsInFlight
from tests.support.invariants import violations_of_site
from tests.support.job_model import END, JobModel, Refused
from tests.support.processes import Services, services
from tests.support.sites import make_test_site

FEW_PROGRAMS, FEW_CRASHING = 15, 2
PROGRAMS = int(os.environ.get("BALSAM_TEST_PROGRAMS", "100"))
STEPS = int(os.environ.get("BALSAM_TEST_STEPS", "30"))
CRASHING = int(os.environ.get("BALSAM_TEST_CRASHES", "8"))
STATES = [state.name for state in State]

pick = st.integers(0, 10**6)
"""Which of those that there are: taken modulo their number, so that shrinking gets simple programs."""
few = st.lists(pick, max_size=3)
ends = st.sampled_from(["RUN_DONE", "RUN_DONE", "RUN_ERROR", "RUN_TIMEOUT"])
delays = st.sampled_from([0.0, 0.001, 0.003, 0.01, 0.03])
in_flight = st.tuples(pick, pick, st.sampled_from(STATES))
new_job = st.fixed_dictionaries(
    {
        "workflow": st.sampled_from(["a", "a/b", "c"]),
        "priority": st.integers(-1, 2),
        "num_nodes": st.integers(1, 2),
        "data": st.fixed_dictionaries({}, optional={"x": st.one_of(st.integers(-2, 2), st.booleans(), st.just("x"))}),
        "wait_for_parents": st.sampled_from([True, True, True, False]),
        "auto_timeout_retry": st.sampled_from([True, True, False]),
        "max_restarts": st.integers(0, 1),
        "parents": few,
    }
)


MOST_CRASHES = 2
"""In one program."""


@dataclass(frozen=True)
class Lease:
    """A job that is leased, or was: its grant, the number that the model has for it, and its session."""

    job_id: str
    fence: int
    grant: Any
    session_id: str


class Program(RuleBasedStateMachine):
    """One program, on an empty store; what runs is put into the class."""

    running: Services
    scheduler: Rules
    has_crashes = False
    crashes = 0
    """Of all programs."""

    @initialize()
    def begin(self) -> None:
        self.site = self.running.site
        self.model = JobModel()
        self.hands = Hands(self.site)
        self.leases: dict[str, Lease] = {}
        self.past: list[Lease] = []
        self.crashes_left = MOST_CRASHES if self.has_crashes else 0

    def teardown(self) -> None:
        if hasattr(self, "hands"):
            self.hands.close()
            BalsamJob.objects.all().delete()
            QueuedLaunch.objects.all().delete()

    # Choosing

    @property
    def ids(self) -> list[str]:
        return list(self.model.jobs)

    def chosen(self, number: int) -> str:
        return self.ids[number % len(self.ids)]

    def several(self, numbers: list[int]) -> list[str]:
        return list(dict.fromkeys(self.chosen(number) for number in numbers)) if self.ids else []

    some_jobs = precondition(lambda self: bool(self.model.jobs))
    some_leases = precondition(lambda self: bool(self.leases))
    some_past = precondition(lambda self: bool(self.past))
    some_launches = precondition(lambda self: bool(self.model.launches))

    def lease(self, number: int) -> Lease:
        return list(self.leases.values())[number % len(self.leases)]

    def is_held(self, lease: Lease) -> bool:
        """Whether the store knows of it: jobs may be deleted while they run."""
        return lease.job_id in self.model.jobs

    # What users do

    @rule(new=st.lists(new_job, min_size=1, max_size=4), stranger=st.sampled_from([False] * 9 + [True]))
    def create(self, new: list[dict[str, Any]], stranger: bool) -> None:
        batch: list[dict[str, Any]] = []
        for fields in new:
            known = [*self.ids, *(job["id"] for job in batch)]
            parents = list(dict.fromkeys(known[number % len(known)] for number in fields["parents"])) if known else []
            batch.append({**fields, "id": str(uuid.uuid4()), "parents": parents})
        if stranger:
            batch[-1]["parents"] = [str(uuid.uuid4())]
        made = [BalsamJob(job_id=job["id"], **{k: v for k, v in job.items() if k != "id"}) for job in batch]
        self.both(lambda: self.model.create(batch), lambda: BalsamJob.objects.bulk_create(made))

    @some_jobs
    @rule(number=pick, state=st.sampled_from(STATES))
    def set_state(self, number: int, state: str) -> None:
        job_id = self.chosen(number)
        refused = self.model.set_state([job_id], state)
        assert self.refused(lambda: BalsamJob.objects.get(pk=job_id).update_state(state)) == bool(refused)

    @some_jobs
    @rule(workflow=st.sampled_from(["a", "c"]), state=st.sampled_from(STATES))
    def set_state_by_query(self, workflow: str, state: str) -> None:
        refused = self.model.set_state(self.of(workflow), state)
        query = BalsamJob.objects.filter(workflow=workflow)
        assert self.refused(lambda: query.update(state=state)) == bool(refused)

    @some_jobs
    @rule(number=pick, value=st.integers(-2, 2))
    def save_data_of_a_stale_object(self, number: int, value: int) -> None:
        job = BalsamJob.objects.get(pk=self.chosen(number))
        job.state  # noqa: B018  (read, and old by the time of the save)
        self.model.set_state([str(job.job_id)], "RESTART_READY")
        with contextlib.suppress(BalsamError):
            BalsamJob.objects.get(pk=job.pk).update_state("RESTART_READY")
        job.data["x"] = value
        job.save()
        self.model.change([str(job.job_id)], {"data": {"x": value}})

    @some_jobs
    @rule(workflow=st.sampled_from(["a", "c"]), change=st.sampled_from([{"priority": 3}, {"num_nodes": 3}]))
    def change_by_query(self, workflow: str, change: dict[str, int]) -> None:
        refused = self.model.change(self.of(workflow), change)
        assert self.refused(lambda: BalsamJob.objects.filter(workflow=workflow).update(**change)) == bool(refused)

    @some_jobs
    @rule(number=pick, parents=few)
    def set_parents(self, number: int, parents: list[int]) -> None:
        job_id, above = self.chosen(number), self.several(parents)
        job = BalsamJob.objects.get(pk=job_id)
        self.both(lambda: self.model.set_parents(job_id, above), lambda: job.set_parents(above))

    @some_jobs
    @rule(parent=pick, child=pick)
    def add_dependency(self, parent: int, child: int) -> None:
        above, below = self.chosen(parent), self.chosen(child)

        def add() -> None:
            parents = self.model.jobs[below]["parents"]
            if above in parents:
                raise Refused("it is there")
            self.model.set_parents(below, [*parents, above])

        self.both(add, lambda: dag.add_dependency(above, below))

    @some_jobs
    @rule(number=pick, recursive=st.booleans())
    def kill(self, number: int, recursive: bool) -> None:
        job_id = self.chosen(number)
        assert dag.kill(job_id, recursive=recursive) == self.model.kill(job_id, recursive=recursive)

    @some_jobs
    @rule(number=pick, kill=st.booleans())
    def delete(self, number: int, kill: bool) -> None:
        job_id = self.chosen(number)
        refused = self.model.delete([job_id], kill=kill)
        assert self.refused(lambda: BalsamJob.objects.get(pk=job_id).delete(kill=kill)) == bool(refused)

    @some_jobs
    @rule(state=st.sampled_from([state for state in STATES if state in END]))
    def delete_by_query(self, state: str) -> None:
        ids = [job_id for job_id, job in self.model.jobs.items() if job["state"] == state]
        refused = self.model.delete(ids, kill=False)
        assert self.refused(lambda: BalsamJob.objects.filter(state=state).delete()) == bool(refused)

    @rule()
    def record_a_launch(self) -> None:
        launch = QueuedLaunch(nodes=2)
        launch.save()
        assert launch.launch_id is not None
        self.model.launches[launch.launch_id] = True

    @some_jobs
    @some_launches
    @rule(number=pick, launch=pick, to_none=st.booleans())
    def bind_to_a_launch(self, number: int, launch: int, to_none: bool) -> None:
        job_id = self.chosen(number)
        target = None if to_none else list(self.model.launches)[launch % len(self.model.launches)]
        job = BalsamJob.objects.get(pk=job_id)
        job.queued_launch = target
        self.both(lambda: self.model.bind(job_id, target), job.save)

    @some_launches
    @rule(launch=pick, delete=st.booleans())
    def end_a_launch(self, launch: int, delete: bool) -> None:
        chosen = list(self.model.launches)[launch % len(self.model.launches)]
        found = QueuedLaunch.objects.get(pk=chosen)
        if delete:
            found.delete()
        else:
            found.state = "ENDED"
            found.save()
        self.model.end_launch(chosen, delete=delete)

    # What launchers do

    @precondition(lambda self: self.model.due() is not None)
    @rule(begins=st.sampled_from([True, True, False]))
    def take(self, begins: bool) -> None:
        due = self.model.due()
        assert due is not None
        grant = self.hands.take()
        assert grant.job.job_id == due
        self.model.take(due)
        assert grant.job.attempt == self.model.jobs[due]["attempt"]
        self.leases[due] = Lease(due, self.model.jobs[due]["fence"], grant, self.hands.session_id)
        if begins:
            assert self.hands.report(grant, State.RUNNING)
            self.model.begin(due)

    @some_leases
    @rule(number=pick, state=ends)
    def end_run(self, number: int, state: str) -> None:
        lease = self.lease(number)
        there = self.is_held(lease)
        assert self.hands.report(lease.grant, *self.passages(lease, state), release=True) == there
        self.let_go(lease, state)

    @some_leases
    @rule(number=pick)
    def give_back(self, number: int) -> None:
        lease = self.lease(number)
        there = self.is_held(lease)
        assert self.hands.report(lease.grant, release=True) == there
        if there:
            self.model.give_back(lease.job_id)
        self.past.append(self.leases.pop(lease.job_id))

    @some_past
    @rule(number=pick, state=ends, release=st.booleans())
    def report_again(self, number: int, state: str, release: bool) -> None:
        old = [lease for lease in self.past if lease.job_id in self.leases] or self.past
        lease = old[number % len(old)]
        assert not self.hands.report(lease.grant, State[state], release=release)

    @some_past
    @rule(number=pick, state=ends)
    def report_late(self, number: int, state: str) -> None:
        lost = [lease for lease in self.past if self.model.jobs.get(lease.job_id, {}).get("lost")] or self.past
        lease = lost[number % len(lost)]
        counts = self.model.end_late(lease.job_id, lease.fence, state)
        assert self.hands.report_late(lease.session_id, lease.grant, State.RUNNING, State[state]) == counts

    @rule()
    def lose_the_launcher(self) -> None:
        self.hands.close()
        self.model.lose()
        self.past += self.leases.values()
        self.leases.clear()
        self.hands = Hands(self.site)

    def passages(self, lease: Lease, state: str) -> list[State]:
        """What a launcher reports of a run that has ended: it was announced, or it was not."""
        begun = not self.is_held(lease) or "RUNNING" in self.model.jobs[lease.job_id]["history"][-1:]
        return [State[state]] if begun else [State.RUNNING, State[state]]

    def let_go(self, lease: Lease, state: str) -> None:
        """In the model: a run has ended."""
        if self.is_held(lease):
            if len(self.passages(lease, state)) > 1:
                self.model.begin(lease.job_id)
            self.model.end(lease.job_id, state)
        self.past.append(self.leases.pop(lease.job_id))

    # What crashes

    may_crash = precondition(lambda self: self.crashes_left > 0)

    @may_crash
    @rule()
    def crash(self) -> None:
        self.running.kill("jobstore")
        self.reopen()

    @may_crash
    @some_leases
    @rule(number=pick, state=ends, delay=delays)
    def crash_amid_a_report(self, number: int, state: str, delay: float) -> None:
        lease = self.lease(number)
        passages = self.passages(lease, state)
        self.hands.send(lease.grant, *passages, release=True)
        self.kill_after(delay)
        self.reopen()
        self.hands.report(lease.grant, *passages, release=True)  # refused where it had arrived before
        self.let_go(lease, state)

    @may_crash
    @some_jobs
    @rule(asked=st.lists(in_flight, min_size=1, max_size=3), patient=st.booleans(), delay=delays)
    def crash_amid_calls(self, asked: list[tuple[str, int, str]], patient: bool, delay: float) -> None:
        verbs = REPEATABLE if patient else VERBS
        calls = [Call(verbs[verb % len(verbs)], self.chosen(number), state) for verb, number, state in asked]
        under_way = CallsInFlight(self.site, calls, patient=patient)
        self.kill_after(delay)
        self.reopen()
        self.model = under_way.outcome(self.model, self.is_real)

    def kill_after(self, seconds: float) -> None:
        """Kills the job store: what is under way may have got anywhere."""
        time.sleep(seconds)
        self.running.kill("jobstore")

    def reopen(self) -> None:
        """Starts the job store again; a scheduler and a launcher take up where they were."""
        self.crashes_left -= 1
        type(self).crashes += 1
        if self.site.settings.database == "sqlite":
            assert violations_of_site(self.site) == []
        self.running.start("jobstore")
        self.scheduler.register_again()
        self.hands.attach_again([lease.grant for lease in self.leases.values()])

    # Comparing

    def of(self, workflow: str) -> list[str]:
        return [job_id for job_id, job in self.model.jobs.items() if job["workflow"] == workflow]

    def refused(self, call: Callable[[], object]) -> bool:
        try:
            call()
        except BalsamError:
            return True
        return False

    def both(self, model: Callable[[], object], real: Callable[[], object]) -> None:
        """Does it in the model and for real: done or refused in both."""
        try:
            model()
            refused = False
        except Refused:
            refused = True
        assert self.refused(real) == refused

    def check_invariants(self, *args: Any, **kwargs: Any) -> None:
        super().check_invariants(*args, **kwargs)
        if hasattr(self, "model"):
            self.compare()

    def compare(self) -> None:
        """Every job, and what queries say of them."""
        real, model = self.real(), self.model
        assert real == {job_id: as_expected(job) for job_id, job in model.jobs.items()}
        assert list(real) == list(model.jobs)
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps % 3 == 0:
            self.compare_queries()
        for job_id, job in model.jobs.items():
            if job["history"] != self.seen.get(job_id):
                self.seen[job_id] = list(job["history"])
                assert history(job_id) == job["history"]

    def compare_queries(self) -> None:
        states = Counter(job["state"] for job in self.model.jobs.values())
        assert dict(BalsamJob.objects.values_list("state").annotate(n=Count("pk"))) == states
        wanted = Q(state__in=["FAILED", "PREPROCESSED"]) & ~Q(workflow="c") | Q(data__x__gt=0)
        assert [
            str(pk) for pk in BalsamJob.objects.filter(wanted).order_by("-priority").values_list("pk", flat=True)
        ] == [
            job["id"]
            for job in sorted(self.model.jobs.values(), key=lambda job: -job["priority"])
            if (job["state"] in ("FAILED", "PREPROCESSED") and job["workflow"] != "c") or positive(job["data"].get("x"))
        ]

    def real(self) -> dict[str, dict[str, Any]]:
        """What the store says of every job."""
        pages = BalsamJob._calls().pages(balsam.query.EVERYTHING, fields=[*SAME, "parents", "leased", "data"])
        return {row["job_id"]: as_shown(row) for page in pages for row in page}

    def is_real(self, model: JobModel) -> bool:
        """Whether the store is as a model says."""
        expected = {job_id: as_expected(job) for job_id, job in model.jobs.items()}
        return self.real() == expected and all(history(one) == job["history"] for one, job in model.jobs.items())

    @property
    def seen(self) -> dict[str, list[str]]:
        """Histories that have been compared."""
        seen: dict[str, list[str]] = self.__dict__.setdefault("_seen", {})
        return seen


def history(job_id: str) -> list[str]:
    """The states that a job has been in."""
    return [passage.state for passage in balsam.connect().events.history(job_id)]


SAME = ("state", "workflow", "priority", "num_nodes", "attempt", "restarts")


def as_shown(row: dict[str, Any]) -> dict[str, Any]:
    """What is compared of a job that the store gives."""
    from balsam.convert import JOB_DEFAULTS, parse_data

    values = {name: row.get(name, JOB_DEFAULTS[name]) for name in SAME}
    parents = sorted(row.get("parents", []))
    return values | {"parents": parents, "leased": row.get("leased", False), "data": parse_data(row.get("data", {}))}


def as_expected(job: dict[str, Any]) -> dict[str, Any]:
    """The same of a job of the model."""
    values = {name: job[name] for name in SAME}
    return values | {"parents": sorted(job["parents"]), "leased": job["held"], "data": job["data"]}


def positive(value: Any) -> bool:
    """Whether it is a number above 0; true is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A job store that runs; every example leaves it empty."""
    site = make_test_site(tmp_path_factory.mktemp("programs"), request.param, lease_seconds=3600.0)
    with services(site, "jobstore") as running:
        yield running


@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    "programs", [pytest.param(FEW_PROGRAMS, id="few"), pytest.param(PROGRAMS, id="many", marks=pytest.mark.slow)]
)
def test_random_programs_do_what_the_model_says(
    running: Services, programs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALSAM_DB_PATH", str(running.site.path))
    clients.reset()
    rules = Rules(running.site)
    crashing = max(programs * CRASHING // 100, min(FEW_CRASHING, CRASHING))
    # Not by a draw: Hypothesis varies what it has drawn, and may draw the same number for most programs.
    for has_crashes, number in ((False, programs - crashing), (True, crashing)):
        more = {"running": running, "scheduler": rules, "has_crashes": has_crashes}
        bound: type[Program] = type("Program", (Program,), more)
        if number:
            run_state_machine_as_test(bound, settings=_settings(number))  # type: ignore[no-untyped-call]
    rules.close()
    clients.reset()
    assert bound.crashes or crashing < 5


def _settings(programs: int) -> settings:
    in_ci = bool(os.environ.get("CI"))
    return settings(
        max_examples=programs,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        derandomize=in_ci,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate] if in_ci else [Phase.generate, Phase.shrink],
    )
