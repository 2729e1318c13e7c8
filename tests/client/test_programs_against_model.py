"""Random programs of calls of the Python API do what the job model says, over both databases."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

import balsam
from balsam import BalsamJob, Count, Q
from balsam import client as clients
from balsam.errors import BalsamError
from balsam.launcher import dag
from balsam.site import Site
from balsam.states import State
from tests.support.hands import Hands
from tests.support.job_model import END, JobModel, Refused
from tests.support.processes import services
from tests.support.sites import make_test_site

RUNS = int(os.environ.get("BALSAM_TEST_PROGRAMS", "60"))
STEPS = 30
STATES = [state.name for state in State]

pick = st.integers(0, 10**6)
"""Which of those that there are: taken modulo their number, so that shrinking gets simple programs."""
few = st.lists(pick, max_size=3)
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


class Program(RuleBasedStateMachine):
    """One program, on an empty store; the site is put into the class."""

    site: Site

    @initialize()
    def begin(self) -> None:
        self.model = JobModel()
        self.hands = Hands(self.site)
        self.runs: dict[str, Any] = {}

    def teardown(self) -> None:
        if hasattr(self, "hands"):
            self.hands.close()
            BalsamJob.objects.all().delete()

    # Choosing

    @property
    def ids(self) -> list[str]:
        return list(self.model.jobs)

    def chosen(self, number: int) -> str:
        return self.ids[number % len(self.ids)]

    def several(self, numbers: list[int]) -> list[str]:
        return list(dict.fromkeys(self.chosen(number) for number in numbers)) if self.ids else []

    some_jobs = precondition(lambda self: bool(self.model.jobs))
    some_runs = precondition(lambda self: bool(self.runs))

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

    # What launchers do

    @precondition(lambda self: self.model.due() is not None)
    @rule()
    def run(self) -> None:
        due = self.model.due()
        assert due is not None
        grant = self.hands.take()
        assert grant.job.job_id == due
        self.model.begin(due)
        self.runs[due] = grant
        assert grant.job.attempt == self.model.jobs[due]["attempt"]

    @some_runs
    @rule(number=pick, state=st.sampled_from(["RUN_DONE", "RUN_DONE", "RUN_ERROR", "RUN_TIMEOUT"]))
    def end_run(self, number: int, state: str) -> None:
        job_id = list(self.runs)[number % len(self.runs)]
        grant = self.runs.pop(job_id)
        there = job_id in self.model.jobs and self.model.jobs[job_id]["held"]
        assert self.hands.report(grant, State[state], release=True) == there
        if there:
            self.model.end(job_id, state)

    @some_runs
    @rule()
    def lose_the_launcher(self) -> None:
        self.hands.close()
        self.model.lose()
        self.runs.clear()
        self.hands = Hands(self.site)

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
        real = {
            row["job_id"]: row
            for page in BalsamJob._calls().pages(balsam.query.EVERYTHING, fields=[*SAME, "parents", "leased", "data"])
            for row in page
        }
        shown = {job_id: as_shown(row) for job_id, row in real.items()}
        expected = {job_id: as_expected(job) for job_id, job in self.model.jobs.items()}
        assert shown == expected
        assert list(real) == list(self.model.jobs)
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
        for job_id, job in self.model.jobs.items():
            if job["history"] != self.seen.get(job_id):
                self.seen[job_id] = list(job["history"])
                assert [p.state for p in balsam.connect().events.history(job_id)] == job["history"]

    @property
    def seen(self) -> dict[str, list[str]]:
        """Histories that have been compared."""
        seen: dict[str, list[str]] = self.__dict__.setdefault("_seen", {})
        return seen


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
def running_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose services run; every example leaves it empty."""
    site = make_test_site(tmp_path_factory.mktemp("programs"), request.param)
    with services(site):
        yield site


@pytest.mark.timeout(600)
def test_random_programs_do_what_the_model_says(running_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALSAM_DB_PATH", str(running_site.path))
    clients.reset()
    bound = type("Program", (Program,), {"site": running_site})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        bound,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            derandomize=bool(os.environ.get("CI")),
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate] if os.environ.get("CI") else [Phase.generate, Phase.shrink],
        ),
    )
    clients.reset()
