"""Long random histories: whatever users, launchers, schedulers and their deaths do, the invariants hold."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

import pytest

from balsam.errors import BalsamError
from balsam.states import END, TRANSITIONS, Actor, State
from balsam_jobstore.leases import Grant
from balsam_jobstore.sessions import SCHEDULER
from tests.jobstore.conftest import checked_bench
from tests.support.invariants import violations
from tests.support.store import Bench, Worker, job

S = State
WALKS = [
    *(("sqlite", seed) for seed in range(4)),
    pytest.param("postgres", 0, marks=pytest.mark.postgres),
    *(pytest.param("sqlite", seed, marks=pytest.mark.slow) for seed in range(4, 14)),
    *(pytest.param("postgres", seed, marks=[pytest.mark.postgres, pytest.mark.slow]) for seed in range(1, 4)),
]
STEPS = 120


class Walk:
    """One history, made of steps that are chosen at random. Refusals are part of it."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.random = random.Random(seed)
        self.bench = bench
        self.jobs: list[str] = []
        self.workers: list[Worker] = []
        self.held: list[tuple[Worker, Grant]] = []
        self.leases: dict[tuple[int, int], Worker] = {}
        self.granted: list[tuple[Worker, Grant]] = []
        self.story: list[str] = []
        self.launches = [bench.add_launch(), bench.add_launch(prescheduled_only=True)]
        bench.add_app("both", preprocess="pre", postprocess="post")
        bench.add_app("post", postprocess="post")
        self.scheduler = bench.schedule(jobs=3)
        self._steps: list[tuple[int, Callable[[], object]]] = [
            (6, self.create),
            (4, self.set_state),
            (2, self.kill),
            (1, self.delete),
            (3, self.depend),
            (1, self.undepend),
            (3, self.update),
            (1, self.change_launch),
            (5, self.give_credit),
            (14, self.report),
            (2, self.report_late),
            (1, self.end_session),
            (1, self.attach),
        ]

    def run(self, steps: int) -> None:
        """Takes so many steps; the story of a broken invariant is in the error."""
        weights = [weight for weight, _ in self._steps]
        for _ in range(steps):
            (step,) = self.random.choices([step for _, step in self._steps], weights)
            with contextlib.suppress(BalsamError):
                self.story.append(f"{step.__name__}: {step()}")
            with self.bench.database.reader() as connection:
                broken = violations(connection, self.bench.events, self.bench.writer.rules)
            assert not broken, "\n".join([*self.story[-12:], *broken])

    def any_job(self) -> str:
        return self.random.choice(self.jobs) if self.jobs else self.create()

    # What users and scripts do

    def create(self) -> str:
        new = []
        for _ in range(self.random.randint(1, 4)):
            known = [*self.jobs, *(other.job_id for other in new)]
            parents = self.random.sample(known, min(len(known), self.random.choice([0, 0, 1, 1, 2, 3])))
            new.append(
                job(
                    f"j{len(known)}",
                    parents=parents,
                    application=self.random.choice(["", "", "both", "post"]),
                    wait_for_parents=self.random.random() < 0.85,
                    auto_timeout_retry=self.random.random() < 0.7,
                    post_error_handler=self.random.random() < 0.3,
                    post_timeout_handler=self.random.random() < 0.3,
                    max_restarts=self.random.randint(0, 2),
                    num_nodes=self.random.randint(1, 3),
                    input_files=self.random.choice(["", "*"]),
                    queued_launch=self.any_launch(),
                )
            )
        self.bench.create(*new, atomic=self.random.random() < 0.3)
        self.jobs += [each.job_id for each in new]
        return self.jobs[-1]

    def set_state(self) -> str:
        job_id = self.any_job()
        actor = self.random.choice([Actor.USER, Actor.SCRIPT])
        allowed = sorted(TRANSITIONS[actor][self.bench.state(job_id)])
        target = self.random.choice([*allowed * 3, *S] if allowed else [*S])
        self.bench.set_state(job_id, target, actor=actor)
        return f"{self._name(job_id)} to {target.name}"

    def kill(self) -> str:
        job_id = self.any_job()
        self.bench.kill(job_id, recursive=self.random.random() < 0.5)
        return self._name(job_id)

    def delete(self) -> str:
        gone = self.random.sample(self.jobs, min(len(self.jobs), self.random.randint(1, 3)))
        story = ", ".join(self._name(job_id) for job_id in gone)
        _, refusals = self.bench.delete(*gone, kill_running=self.random.random() < 0.5)
        kept = {refused.job_id for refused in refusals}
        self.jobs = [job_id for job_id in self.jobs if job_id not in gone or job_id in kept]
        return story

    def depend(self) -> str:
        parent, child = self.any_job(), self.any_job()
        self.bench.depend(parent, child)
        return f"{self._name(child)} on {self._name(parent)}"

    def undepend(self) -> str:
        child = self.any_job()
        parents = self.bench.get(child)["parents"]
        if parents:
            self.bench.undepend(parents[0], child)
        return self._name(child)

    def update(self) -> str:
        job_id = self.any_job()
        change = self.random.choice(
            [
                {"args": "new"},
                {"priority": self.random.randint(-2, 2)},
                {"application": self.random.choice(["", "both", "post", "nosuch"])},
                {"wait_for_parents": self.random.random() < 0.5},
                {"parents": self.random.sample(self.jobs, min(2, len(self.jobs)))},
                {"auto_timeout_retry": self.random.random() < 0.5},
                {"state": self.random.choice([*S]).name},
                {"queued_launch": self.any_launch()},
            ]
        )
        self.bench.update(job_id, **change)
        return f"{self._name(job_id)} {change}"

    def any_launch(self) -> int | None:
        return self.random.choice([None, None, *self.launches])

    def change_launch(self) -> str:
        """It is changed, is over, or is deleted; then there is another one."""
        launch = self.random.choice(self.launches)
        change = self.random.choice(["prescheduled_only", "over", "delete"])
        if change == "prescheduled_only":
            self.bench.update_launch(launch, prescheduled_only=self.random.random() < 0.5)
            return f"{launch} {change}"
        if change == "over":
            self.bench.update_launch(launch, state="ENDED")
        else:
            self.bench.delete_launch(launch)
        self.launches.remove(launch)
        self.launches.append(self.bench.add_launch())
        return f"{launch} {change}"

    # What launchers and schedulers do

    def give_credit(self) -> str:
        if len(self.workers) < 2 or self.random.random() < 0.1:
            self.workers.append(self.bench.launcher(launch=self.any_launch()))
        worker = self.random.choice([*self.workers, self.scheduler])
        self._note_grants()
        worker.give(nodes=4.0, jobs=self.random.randint(0, 3), largest=3)
        self._note_grants()
        return f"to {worker.session.key}"

    def _note_grants(self) -> None:
        for worker in (*self.workers, self.scheduler):
            for grant in worker.grants:
                self.held.append((worker, grant))
                self.granted.append((worker, grant))
                same = self.leases.setdefault((grant.row_key, grant.fence), worker)
                assert same is worker, f"{grant.name} is leased twice under {grant.fence}"
            worker.grants = []

    def report(self) -> str:
        self._note_grants()
        if not self.held:
            return "nothing held"
        place = self.random.randrange(len(self.held))
        worker, grant = self.held[place]
        if worker.session.kind == SCHEDULER:
            path = {S.READY: S.STAGED_IN, S.STAGED_IN: S.PREPROCESSED, S.RUN_DONE: S.POSTPROCESSED}
            usual = path.get(State(grant.state), S.JOB_FINISHED)
            states = self.random.choice([(usual,), (usual,), (S.FAILED,), ()])
            release = True
        else:
            end = self.random.choice([S.RUN_DONE, S.RUN_DONE, S.RUN_ERROR, S.RUN_TIMEOUT])
            states, release = self.random.choice(
                [((S.RUNNING,), False), ((S.RUNNING, end), True), ((end,), True), ((), True)]
            )
        holder = self.bench.sql("SELECT session, fence FROM job WHERE key = :key", key=grant.row_key)
        taken = worker.report(grant, *states, release=release, message="reported")
        assert taken == (holder == [(worker.session.key, grant.fence)])
        if (release or not taken) and self.random.random() < 0.8:  # else it is said again, some time
            del self.held[place]
        return f"{worker.session.key} of {grant.name}: {[s.name for s in states]}, release {release}, taken {taken}"

    def report_late(self) -> str:
        """A result from a ledger, of any run there ever was."""
        runs = [(worker, grant) for worker, grant in self.granted if worker.session.kind != SCHEDULER]
        if not runs:
            return "nothing was granted"
        worker, grant = self.random.choice(runs)
        fence = self.bench.sql("SELECT fence FROM job WHERE key = :key", key=grant.row_key)
        taken = worker.report_late(grant, self.random.choice([S.RUN_DONE, S.RUN_ERROR]))
        assert not taken or fence == [(grant.fence,)], f"{grant.name}: a result of an older attempt counts"
        return f"{worker.session.key} of {grant.name}, taken {taken}"

    def end_session(self) -> str:
        worker = self.random.choice([*self.workers, self.scheduler])
        self.bench.end(worker)
        if self.random.random() < 0.5:  # else it comes back later, as a stale one
            self.held = [(other, grant) for other, grant in self.held if other is not worker]
        if worker is self.scheduler:
            self.scheduler = self.bench.schedule(jobs=3)
        else:
            self.workers.remove(worker)
        return str(worker.session.key)

    def attach(self) -> str:
        self._note_grants()
        worker = self.random.choice([*self.workers, self.scheduler])
        held = [grant for other, grant in self.held if other is worker and self.random.random() < 0.8]
        self.held = [(other, grant) for other, grant in self.held if other is not worker or grant in held]
        worker.attach(*held)
        self._note_grants()
        return f"{worker.session.key} holding {[grant.name for grant in held]}"

    def _name(self, job_id: str) -> str:
        row = self.bench.row(job_id)
        return f"{row.name} ({State(row.state).name})"

    def finish(self) -> None:
        """Everybody works until nothing is left: every job then has ended, or waits for one that never will."""
        for launch in self.launches:
            self.bench.delete_launch(launch)
        launcher = self.bench.launcher()
        self.workers.append(launcher)
        for _ in range(400):
            self._note_grants()
            if not self.held:
                self.scheduler.give(nodes=1e9, jobs=9)
                launcher.give(nodes=9.0, jobs=9, largest=3)
                self._note_grants()
                if not self.held:
                    break
            worker, grant = self.held.pop()
            if worker.session.kind == SCHEDULER:
                worker.report(grant, S.FAILED, release=True)
            else:
                worker.report(grant, S.RUNNING, S.RUN_DONE, release=True)
        left = [self.bench.row(job_id) for job_id in self.jobs if self.bench.state(job_id) not in END]
        assert [f"{row.name} {State(row.state).name}" for row in left if not row.unmet] == []
        assert launcher.ask_drained()


@pytest.mark.parametrize(("kind", "seed"), WALKS)
def test_invariants_hold_at_every_step_of_a_random_history(
    empty_database: Callable[[str], str], kind: str, seed: int
) -> None:
    with checked_bench(empty_database(kind)) as bench:
        walk = Walk(bench, seed)
        walk.run(STEPS)
        walk.finish()
