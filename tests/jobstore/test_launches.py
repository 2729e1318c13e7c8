"""Launches: their records, and what it means that a job is bound to one."""

from __future__ import annotations

import uuid

import pytest

from balsam.errors import Conflict, NotFound
from balsam.fields import LAUNCH_OVER
from balsam.states import State
from balsam_jobstore import launches, reading
from balsam_jobstore.jobs import update
from balsam_jobstore.query import LAUNCHES, Order
from balsam_jobstore.query import Test as Compare
from tests.support.store import Bench, job, one

S = State


def bound(bench: Bench, job_id: str) -> int | None:
    """The launch that a job is bound to, as readers see it."""
    launch: int | None = bench.get(job_id)["queued_launch"]
    return launch


# The records


def test_a_launch_has_what_was_given_and_defaults(bench: Bench) -> None:
    request = str(uuid.uuid4())
    values = {"queue": "debug", "nodes": 4, "from_balsam": False}
    made = bench.do(lambda tx: launches.create(tx, values, request_id=request, owner="me"))
    assert (made.queue, made.nodes, made.from_balsam, made.owner, made.revision) == ("debug", 4, 0, "me", 1)
    assert (made.wall_minutes, made.job_mode, made.state) == (60, "auto", "PENDING_SUBMISSION")
    assert bench.do(lambda tx: launches.get(tx, made.key)) == made
    assert bench.do(lambda tx: launches.create(tx, {}, request_id=request, owner="me")) == made


def test_a_change_keeps_the_rest_and_may_ask_for_a_revision(bench: Bench) -> None:
    launch = bench.add_launch(queue="debug")
    changed = bench.do(lambda tx: launches.update(tx, launch, {"state": "QUEUED", "scheduler_id": "17.pbs"}))
    assert (changed.state, changed.scheduler_id, changed.queue, changed.revision) == ("QUEUED", "17.pbs", "debug", 2)
    with pytest.raises(Conflict, match=rf"launch {launch} was changed meanwhile \(revision 2, yours is of 1\)"):
        bench.do(lambda tx: launches.update(tx, launch, {"queue": "long"}, expected_revision=1))
    assert bench.do(lambda tx: launches.update(tx, launch, {"queue": "long"}, expected_revision=2)).queue == "long"


def test_a_launch_that_does_not_exist_is_named(bench: Bench) -> None:
    gone = bench.add_launch()
    bench.delete_launch(gone)
    for refused in (lambda: bench.update_launch(gone, queue="x"), lambda: bench.delete_launch(gone)):
        with pytest.raises(NotFound, match=f"launch {gone} does not exist"):
            refused()
    assert bench.add_launch() > gone


def test_launches_are_found_by_their_fields(bench: Bench) -> None:
    first = bench.add_launch(queue="long", nodes=8)
    second = bench.add_launch(queue="debug", prescheduled_only=True)
    bench.update_launch(second, state="RUNNING")

    def found(node: Compare | None, *orders: Order) -> list[int]:
        with bench.database.reader() as connection:
            sqlite = bench.database.is_sqlite
            rows, _ = reading.list_records(connection, sqlite, LAUNCHES, node, orders, 10, "")
            return [row["launch_id"] for row in rows]

    assert found(None) == [first, second]
    assert found(None, Order("queue")) == [second, first]
    assert found(Compare("state", "in", ("RUNNING", "QUEUED"))) == [second]
    assert found(Compare("nodes", "gte", (2,))) == [first]
    assert found(Compare("prescheduled_only", "exact", (True,))) == [second]
    assert found(Compare("launch_id", "exact", (first,))) == [first]


# Binding


def test_a_job_is_bound_when_it_is_added_or_later(bench: Bench) -> None:
    launch, other = bench.add_launch(), bench.add_launch()
    job_id = bench.add("a", queued_launch=launch)
    assert bound(bench, job_id) == launch
    bench.update(job_id, queued_launch=other)
    assert bound(bench, job_id) == other
    bench.update(job_id, queued_launch=None)
    assert bound(bench, job_id) is None


def test_a_job_cannot_be_bound_to_a_launch_that_does_not_exist(bench: Bench) -> None:
    outcome = bench.create(job("a", queued_launch=17), job("b"))
    (refusal,) = outcome.refusals
    assert (outcome.created, refusal.reason, refusal.field) == (1, "NOT_FOUND", "queued_launch")
    assert refusal.message.startswith("queued_launch = 17: there is no such launch")
    bench.add_app("app")
    job_id = bench.add("c", args="old")
    with pytest.raises(NotFound, match="queued_launch = 17: there is no such launch"):
        bench.update(job_id, queued_launch=17, args="new", application="app")
    assert (bench.get(job_id)["args"], bench.get(job_id)["application"]) == ("old", "")


@pytest.mark.parametrize("state", sorted(LAUNCH_OVER))
def test_jobs_of_a_launch_that_is_over_are_bound_to_none(bench: Bench, state: str) -> None:
    launch, other = bench.add_launch(), bench.add_launch()
    job_ids = [bench.add(name, queued_launch=launch) for name in ("a", "b")]
    kept = bench.add("c", queued_launch=other)
    bench.set_state(job_ids[1], S.FAILED)
    revision = bench.row(job_ids[0]).revision
    bench.update_launch(launch, state="RUNNING")
    assert bound(bench, job_ids[0]) == launch
    launcher = bench.launcher(jobs=9)
    assert launcher.names == []
    bench.update_launch(launch, state=state)
    assert [bound(bench, job_id) for job_id in (*job_ids, kept)] == [None, None, other]
    assert bench.row(job_ids[0]).revision > revision
    assert launcher.names == ["a"]
    late = bench.add("late", queued_launch=launch)
    bench.update(kept, queued_launch=launch)
    assert [bound(bench, job_id) for job_id in (late, kept)] == [None, None]


def test_a_deleted_launch_frees_its_jobs_also_those_bound_in_the_same_commit(bench: Bench) -> None:
    launch = bench.add_launch()
    before, meanwhile = bench.add("before", queued_launch=launch), bench.add("meanwhile")
    launcher = bench.launcher(jobs=9)
    assert launcher.names == ["meanwhile"]
    bench.writer.do_together(
        lambda tx: update(tx, one(tx, meanwhile), {"queued_launch": launch}),
        lambda tx: launches.delete(tx, launch),
        lambda tx: update(tx, one(tx, meanwhile), {"priority": 3}),
    )
    assert [bound(bench, before), bound(bench, meanwhile)] == [None, None]
    assert launcher.names == ["meanwhile", "before"]
    row = bench.row(meanwhile)
    bench.update(meanwhile, priority=4, expected_revision=row.revision)


# Who takes what


def test_a_bound_job_runs_under_its_launch_and_an_unbound_one_anywhere(bench: Bench) -> None:
    mine, other = bench.add_launch(), bench.add_launch()
    bench.add("mine", queued_launch=mine)
    bench.add("other", queued_launch=other, priority=9)
    bench.add("first", priority=5)
    bench.add("last", priority=-5)
    assert bench.launcher(launch=mine, jobs=3).names == ["first", "mine", "last"]
    bench.add("free")
    assert bench.launcher(jobs=9).names == ["free"]
    assert bench.launcher(launch=other, jobs=9).names == ["other"]


def test_the_order_in_which_jobs_start_is_one_whatever_they_are_bound_to(bench: Bench) -> None:
    launch = bench.add_launch()
    for number, (bound_to, fields) in enumerate(
        [
            (launch, {"num_nodes": 2}),
            (None, {"num_nodes": 2, "wall_time_minutes": 5}),
            (launch, {"priority": 1}),
            (None, {"num_nodes": 3}),
            (launch, {}),
            (None, {}),
        ]
    ):
        bench.add(f"j{number}", queued_launch=bound_to, **fields)
    launcher = bench.launcher(launch=launch, jobs=2)
    assert launcher.names == ["j2", "j3"]
    launcher.give(jobs=9)
    assert launcher.names[2:] == ["j1", "j0", "j4", "j5"]


def test_a_prescheduled_launch_takes_only_what_is_bound_to_it(bench: Bench) -> None:
    launch = bench.add_launch(prescheduled_only=True)
    bench.add("free", priority=9)
    bench.add("bound", queued_launch=launch)
    launcher = bench.launcher(launch=launch, jobs=9)
    assert launcher.names == ["bound"]
    bench.update_launch(launch, prescheduled_only=False)
    assert launcher.names == ["bound", "free"]


def test_a_launcher_whose_launch_is_deleted_takes_what_all_take(bench: Bench) -> None:
    launch = bench.add_launch(prescheduled_only=True)
    bench.add("bound", queued_launch=launch)
    bench.add("free")
    launcher = bench.launcher(launch=launch)
    bench.delete_launch(launch)
    launcher.give(jobs=9)
    assert launcher.names == ["bound", "free"]


def test_a_filter_and_the_nodes_count_for_bound_jobs_too(bench: Bench) -> None:
    launch = bench.add_launch()
    bench.add("in", workflow="w", queued_launch=launch)
    bench.add("out", workflow="x", queued_launch=launch)
    bench.add("wide", workflow="w", queued_launch=launch, num_nodes=3)
    assert bench.launcher(launch=launch, workflow_filter="w", jobs=9, largest=2).names == ["in"]


def test_binding_a_job_that_waits_in_a_launcher_takes_it_back(bench: Bench) -> None:
    launch = bench.add_launch()
    job_id = bench.add("a")
    anybody, its = bench.launcher(jobs=9), bench.launcher(launch=launch, jobs=9)
    grant = anybody.grant("a")
    bench.update(job_id, queued_launch=launch)
    assert anybody.stops == [(grant.row_key, grant.fence)]
    assert anybody.report(grant, release=True)
    assert its.names == ["a"]
    assert bench.row(job_id).attempt == 1


def test_a_running_job_may_be_bound_for_its_next_run(bench: Bench) -> None:
    launch = bench.add_launch()
    job_id = bench.add("a")
    anybody, its = bench.launcher(jobs=9), bench.launcher(launch=launch, jobs=9)
    anybody.start(anybody.grant("a"))
    bench.update(job_id, queued_launch=launch)
    assert anybody.stops == []
    anybody.finish(anybody.grant("a"), S.RUN_TIMEOUT)
    assert (anybody.names, its.names) == (["a"], ["a"])


# When nothing more can come


def test_nobody_waits_for_jobs_of_another_launch(bench: Bench) -> None:
    mine, other = bench.add_launch(), bench.add_launch()
    bench.add("other", queued_launch=other)
    its = bench.launcher(launch=other, jobs=9)
    assert bench.launcher(jobs=9).ask_drained()
    assert bench.launcher(launch=mine, jobs=9).ask_drained()
    assert not its.ask_drained()
    its.finish(its.grant("other"))
    assert its.ask_drained()


def test_a_prescheduled_launch_does_not_wait_for_unbound_jobs(bench: Bench) -> None:
    launch = bench.add_launch(prescheduled_only=True)
    bench.add("free")
    assert bench.launcher(launch=launch, jobs=9).ask_drained()
    bench.update_launch(launch, prescheduled_only=False)
    assert not bench.launcher(launch=launch).ask_drained()


def test_jobs_of_another_launch_hold_a_launcher_if_they_may_release_some_for_it(bench: Bench) -> None:
    launch = bench.add_launch()
    parent = bench.add("parent", queued_launch=launch)
    bench.add("child", parents=[parent])
    anybody, its = bench.launcher(jobs=9), bench.launcher(launch=launch)
    assert anybody.ask_drained()
    its.give(jobs=1)
    assert not anybody.ask_drained()
    its.finish(its.grant("parent"))
    assert anybody.names == ["child"]
