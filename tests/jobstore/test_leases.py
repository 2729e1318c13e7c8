"""Leases: who gets which jobs and in which order, what is accepted of them, and what is left when they are gone."""

from __future__ import annotations

import pytest

from balsam.errors import NotFound
from balsam.states import Actor, State
from balsam_jobstore.amounts import MOST_BYTES
from balsam_jobstore.leases import MOST_SPARED, NodeKind, Report, apply_reports
from balsam_jobstore.sessions import SCHEDULER
from balsam_jobstore.tx import Tx
from tests.support.store import RULE_SET, Bench, Worker, job

S = State


# What is handed out


def test_jobs_are_handed_out_in_the_order_in_which_they_should_start(bench: Bench) -> None:
    bench.add("old")
    bench.add("long", wall_time_minutes=5)
    bench.add("wide", num_nodes=2)
    bench.add("wide and long", num_nodes=2, wall_time_minutes=9)
    bench.add("first", priority=1)
    bench.add("last", priority=-1, num_nodes=8)
    bench.add("young")
    launcher = bench.launcher(jobs=100)
    assert launcher.names == ["first", "wide and long", "wide", "long", "old", "young", "last"]


def test_a_job_is_leased_in_the_transaction_that_adds_it(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    before = len(bench.events)
    job_id = bench.add("a")
    assert launcher.names == ["a"]
    assert bench.row(job_id).session == launcher.session.key
    assert len({event.record_us for event in bench.events[before:]}) == 1


def test_a_grant_holds_what_a_run_needs(bench: Bench) -> None:
    bench.add_app("app", executable="x.py")
    parents = [bench.add("p0"), bench.add("p1")]
    for parent in parents:
        bench.set_state(parent, S.JOB_FINISHED)
    bench.add("a", workflow="wf", parents=parents, application="app", args="1 2", ranks_per_node=4, wall_time_minutes=7)
    grant = bench.launcher(jobs=1).grant("a")
    assert (grant.name, grant.workflow, grant.state, grant.attempt) == ("a", "wf", S.PREPROCESSED, 1)
    assert (grant.num_nodes, grant.ranks_per_node, grant.wall_time_minutes) == (1, 4, 7)
    assert [str(parent) for parent in grant.parents] == parents
    assert grant.detail[0] == "1 2"
    assert bench.sql("SELECT name FROM application WHERE key = :key", key=grant.application) == [("app",)]


def test_credit_is_counted_in_jobs(bench: Bench) -> None:
    bench.create(*[job(f"j{i}") for i in range(5)])
    launcher = bench.launcher(jobs=2)
    assert launcher.names == ["j0", "j1"]
    launcher.give(jobs=1)
    assert launcher.names == ["j0", "j1", "j2"]


def test_credit_is_counted_in_nodes(bench: Bench) -> None:
    bench.add("quarter", node_packing_count=4)
    bench.add("mpi", ranks_per_node=2, node_packing_count=4)
    bench.add("pair", num_nodes=2)
    launcher = bench.launcher(nodes=3.25, jobs=9)
    assert launcher.names == ["pair", "quarter", "mpi"]


def test_a_job_that_does_not_fit_yet_is_not_overtaken(bench: Bench) -> None:
    bench.add("wide", num_nodes=4)
    bench.add("small")
    launcher = bench.launcher(nodes=2.0, jobs=9, largest=4)
    assert launcher.names == []
    launcher.give(nodes=5.0, jobs=9, largest=4)
    assert launcher.names == ["wide", "small"]


def test_a_job_that_never_fits_is_passed_over(bench: Bench) -> None:
    bench.add("wide", num_nodes=5)
    bench.add("many ranks", ranks_per_node=65)
    bench.add("long", wall_time_minutes=11)
    bench.add("fits", num_nodes=4, ranks_per_node=64, wall_time_minutes=10)
    launcher = bench.launcher(nodes=4.0, jobs=9, largest=4, ranks_per_node=64, minutes=10.5)
    assert launcher.names == ["fits"]


def test_jobs_of_quick_applications_fit_whatever_they_say(bench: Bench) -> None:
    bench.add_app("quick")
    bench.add_app("other")
    bench.add("long", application="quick", wall_time_minutes=500)
    bench.add("too long", application="other", wall_time_minutes=500)
    bench.add("without", wall_time_minutes=500)
    bench.add("short", application="other", wall_time_minutes=5)
    launcher = bench.launcher(nodes=4.0, jobs=9, largest=4, minutes=10.0, quick_applications=("gone",))
    assert launcher.names == ["short"]
    launcher.give(nodes=4.0, jobs=9, largest=4, minutes=10.0, quick_applications=("quick", "gone"))
    assert launcher.names == ["short", "long"]


def alike(*, cores: int = 64, gpus: int = 0) -> list[NodeKind]:
    """The nodes of a launcher, all of them with these."""
    return [NodeKind(9, cores, gpus)]


GPU_JOBS = {
    "one": {"gpus_per_rank": 1},
    "half": {"gpus_per_rank": 0.5},
    "three": {"gpus_per_rank": 2.5},
    "four ranks": {"gpus_per_rank": 1, "ranks_per_node": 4},
    "four that share": {"gpus_per_rank": 0.5, "ranks_per_node": 4},
    "five that share": {"gpus_per_rank": 0.5, "ranks_per_node": 5},
    "none": {},
}


@pytest.mark.parametrize(
    ("gpus", "names"),
    [
        (0, {"none"}),
        (1, {"none", "one", "half"}),
        (2, {"none", "one", "half", "four that share"}),
        (3, {"none", "one", "half", "three", "four that share", "five that share"}),
        (4, set(GPU_JOBS)),
        (1_000_000, set(GPU_JOBS)),
        (None, set(GPU_JOBS)),
    ],
)
def test_gpus_are_there_or_the_job_is_passed_over(bench: Bench, gpus: int | None, names: set[str]) -> None:
    bench.create(*[job(name, **fields) for name, fields in GPU_JOBS.items()])
    kinds = [] if gpus is None else alike(gpus=gpus)
    assert set(bench.launcher(nodes=99.0, jobs=99, largest=9, node_kinds=kinds).names) == names


def test_the_store_and_a_launchers_placement_count_gpus_in_the_same_way(bench: Bench) -> None:
    from balsam_launcher.seats import gpus_of_ranks

    shapes = [(ranks, g) for ranks in (1, 2, 3, 7) for g in (0.1, 0.25, 0.3, 1 / 3, 0.5, 0.7, 1, 1.5, 2)]
    bench.create(*[job(f"{ranks} {g}", ranks_per_node=ranks, gpus_per_rank=g) for ranks, g in shapes])
    for gpus in (1, 2, 3, 4):
        fitting = {f"{ranks} {g}" for ranks, g in shapes if gpus_of_ranks(ranks, g) <= gpus}
        worker = bench.launcher(nodes=999.0, jobs=999, largest=9, node_kinds=alike(gpus=gpus))
        assert set(worker.names) == fitting
        bench.end(worker)


def test_a_job_that_is_bound_needs_a_node_with_so_many_cores(bench: Bench) -> None:
    bench.add("unbound", threads_per_rank=64)
    bench.add("four", threads_per_rank=4, cpu_affinity="depth")
    bench.add("two by two", threads_per_rank=8, threads_per_core=2, cpu_affinity="depth")
    bench.add("five", threads_per_rank=9, threads_per_core=2, cpu_affinity="depth")
    bench.add("ranks", ranks_per_node=3, threads_per_rank=2, cpu_affinity="depth")
    bench.add("absurd", ranks_per_node=2**31 - 1, threads_per_rank=2**31 - 1, cpu_affinity="depth")
    worker = bench.launcher(nodes=99.0, jobs=99, largest=9, node_kinds=alike(cores=4))
    assert set(worker.names) == {"unbound", "four", "two by two"}
    worker.give(nodes=99.0, jobs=99, largest=9, node_kinds=alike(cores=6))
    assert set(worker.names) == {"unbound", "four", "two by two", "five", "ranks"}


def test_a_job_of_several_nodes_needs_enough_that_have_what_it_needs(bench: Bench) -> None:
    bench.add("two with gpus", num_nodes=2, gpus_per_rank=1)
    bench.add("three with gpus", num_nodes=3, gpus_per_rank=1)
    bench.add("two with many", num_nodes=2, gpus_per_rank=4)
    bench.add("two with cores", num_nodes=2, cpu_affinity="depth", threads_per_rank=64)
    bench.add("gpu and cores", gpus_per_rank=1, cpu_affinity="depth", threads_per_rank=64)
    bench.add("five", num_nodes=5)
    kinds = [NodeKind(3, 64, 0), NodeKind(1, 32, 1), NodeKind(1, 32, 4)]
    worker = bench.launcher(nodes=99.0, jobs=99, largest=5, node_kinds=kinds)
    assert set(worker.names) == {"two with gpus", "two with cores", "five"}


def test_a_job_that_is_changed_counts_as_it_is_now(bench: Bench) -> None:
    job_id = bench.add("a", gpus_per_rank=1)
    bench.update(job_id, gpus_per_rank=0.0, cpu_affinity="depth", threads_per_rank=4)
    worker = bench.launcher(jobs=9, node_kinds=alike(cores=2))
    assert worker.names == []
    bench.update(job_id, cpu_affinity="none")
    assert worker.names == ["a"]


def test_thirds_of_a_node_fill_it(bench: Bench) -> None:
    bench.create(*[job(f"j{i}", node_packing_count=3) for i in range(4)])
    assert bench.launcher(nodes=1.0, jobs=9).names == ["j0", "j1", "j2"]


def test_a_serial_launcher_takes_serial_jobs_only(bench: Bench) -> None:
    bench.add("ranks", ranks_per_node=2)
    bench.add("nodes", num_nodes=2)
    bench.add("serial")
    assert bench.launcher(jobs=9, serial_only=True).names == ["serial"]


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("wf1", ["wf1"]),
        ("wf1*", ["wf1", "wf10", "wf1/sub"]),
        ("wf?0", ["wf10"]),
        ("*", ["wf1", "wf10", "wf1/sub", "WF1", "a%b", "axb", "[x]", "x"]),
        ("a%?", ["a%b"]),
        ("[x]*", ["[x]"]),
        ("none", []),
    ],
)
def test_a_workflow_filter_is_exact_or_a_glob(bench: Bench, pattern: str, taken: list[str]) -> None:
    for workflow in ("wf1", "wf10", "wf1/sub", "WF1", "a%b", "axb", "[x]", "x"):
        bench.add(workflow.replace("/", " "), workflow=workflow)
    launcher = bench.launcher(workflow_filter=pattern, jobs=99)
    assert [grant.workflow for grant in launcher.grants] == taken


def test_no_job_is_handed_out_twice(bench: Bench) -> None:
    launchers = [bench.launcher(jobs=3) for _ in range(3)]
    bench.create(*[job(f"j{i}") for i in range(7)])
    assert sorted(name for launcher in launchers for name in launcher.names) == [f"j{i}" for i in range(7)]
    assert [len(launcher.grants) for launcher in launchers] == [3, 3, 1]


def test_grants_that_were_not_seen_yet_count_against_new_credit(bench: Bench) -> None:
    bench.create(*[job(f"j{i}") for i in range(9)])
    launcher = bench.launcher(jobs=2)
    launcher.give(jobs=3, seen=0)  # sent before the two grants had arrived
    assert len(launcher.grants) == 3
    launcher.give(jobs=3, seen=2)
    assert len(launcher.grants) == 5


def test_a_large_credit_is_served_at_once_and_in_order(bench: Bench) -> None:
    bench.create(*[job(f"j{i}", priority=-i) for i in range(130)])
    launcher = bench.launcher(jobs=125, nodes=200.0)
    assert launcher.names == [f"j{i}" for i in range(125)]
    launcher.give(jobs=99)
    assert launcher.names[125:] == [f"j{i}" for i in range(125, 130)]


LARGE = {"args": "x" * 120_000, "environ_vars": {f"V{i}": "y" * 60_000 for i in range(16)}, "node_packing_count": 64}
"""Fields of a job that is as large as it may be."""


def test_large_jobs_come_in_messages_that_can_be_sent_and_keep_no_other_back(bench: Bench) -> None:
    launcher = bench.launcher(jobs=0)
    bench.create(*[job(f"large{i}", **LARGE) for i in range(40)], job("small"))
    rounds = 0
    while "small" not in launcher.names:
        launcher.give()
        rounds += 1
    assert (rounds, len(launcher.names)) == (6, 41)
    assert all(0 < size <= MOST_BYTES for size in launcher.sizes)
    launcher.attach()
    assert len(launcher.names) == 41
    assert len(launcher.sizes) == 6
    assert all(0 < size <= MOST_BYTES for size in launcher.sizes)
    for grant in launcher.grants:
        launcher.finish(grant)


def test_a_launcher_that_was_short_of_nodes_gets_the_rest_when_they_are_free(bench: Bench) -> None:
    bench.create(*[job(f"j{i}", num_nodes=1 + i % 3) for i in range(60)])
    launcher = bench.launcher(jobs=100, nodes=7.0)
    sizes = {grant.name: grant.num_nodes for grant in launcher.grants}
    assert sum(sizes.values()) == 6  # twice three; another three do not fit, and nothing smaller overtakes them
    rounds = 0
    while len(launcher.grants) < 60:
        rounds += 1
        launcher.give(jobs=100, nodes=7.0)
    assert [grant.num_nodes for grant in launcher.grants] == [3] * 20 + [2] * 20 + [1] * 20
    assert rounds < 30


@pytest.mark.parametrize("count", [1, 70])
def test_a_commit_that_fails_takes_its_grants_back(bench: Bench, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    launcher = bench.launcher(jobs=count)

    def fails(tx: Tx) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(Tx, "write_events", fails)
        with pytest.raises(OSError, match="no room"):
            bench.create(*[job("lost") for _ in range(count)])
    assert launcher.grants == []
    assert bench.sql("SELECT count(*) FROM job") == [(0,)]

    bench.create(*[job(f"j{i}") for i in range(count)])
    assert len(launcher.grants) == launcher.stream.sent == count


# The scheduler's work


def test_a_scheduler_is_given_what_needs_staging_or_a_script(bench: Bench) -> None:
    bench.add_app("app", preprocess="pre", postprocess="post")
    scheduler = bench.schedule(jobs=9)
    bench.add("nothing to do")
    bench.add("pre", application="app")
    bench.add("stage", application="app", stage_in_url="/tmp/x")
    done = bench.add("post", application="app", wait_for_parents=False)
    assert [(grant.name, State(grant.state)) for grant in scheduler.grants] == [
        ("pre", S.STAGED_IN),
        ("stage", S.READY),
        ("post", S.STAGED_IN),
    ]
    scheduler.report(scheduler.grant("post"), S.PREPROCESSED, release=True)
    bench.set_state(done, S.RUN_DONE)
    assert (scheduler.grants[-1].name, State(scheduler.grants[-1].state)) == ("post", S.RUN_DONE)
    assert bench.row(done).attempt == 0  # of launchers only


def test_a_step_by_the_scheduler_goes_on_by_rule(bench: Bench) -> None:
    bench.add_app("app", preprocess="pre")
    scheduler, launcher = bench.schedule(jobs=9), bench.launcher(jobs=9)
    job_id = bench.add("a", application="app", stage_in_url="/tmp/x")
    assert scheduler.report(scheduler.grant("a"), S.STAGED_IN, release=True)
    assert len(scheduler.grants) == 2
    assert scheduler.report(scheduler.grant("a"), S.PREPROCESSED, release=True, exit_code=0)
    assert launcher.names == ["a"]
    assert bench.history(job_id) == [S.CREATED, S.READY, S.STAGED_IN, S.PREPROCESSED]


def test_a_time_out_handler_is_not_called_for_a_lost_launcher(bench: Bench) -> None:
    bench.add_app("app", postprocess="post")
    scheduler = bench.schedule(jobs=9)
    jobs = [bench.add(name, application="app", post_timeout_handler=True) for name in ("lost", "timeout")]
    launcher = bench.launcher(jobs=9)
    launcher.start(launcher.grant("lost"))
    launcher.finish(launcher.grant("timeout"), S.RUN_TIMEOUT)
    bench.end(launcher)
    assert scheduler.names == ["timeout"]
    assert bench.states(*jobs) == [S.RESTART_READY, S.RUN_TIMEOUT]


# What comes back


def test_start_and_end_of_a_run_travel_together(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    assert launcher.report(launcher.grant("a"), S.RUNNING, S.RUN_DONE, release=True, exit_code=0)
    assert bench.history(job_id)[-4:] == [S.RUNNING, S.RUN_DONE, S.POSTPROCESSED, S.JOB_FINISHED]
    assert bench.get(job_id)["exit_code"] == 0
    assert not bench.get(job_id)["leased"]


def test_the_end_of_a_run_keeps_its_time_code_and_message(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    grant = launcher.grant("a")
    now = bench.events[-1].record_us
    passages = [(int(S.RUNNING), now - 5_000_000), (int(S.RUN_ERROR), now - 1_000_000)]
    bench.do(
        lambda tx: apply_reports(
            tx, launcher.session, [Report(grant.row_key, grant.fence, passages, 137, "killed by SIGKILL", True)]
        )
    )
    running, error, failed = bench.events_of(job_id)[-3:]
    assert (running.time_us, running.exit_code, running.message) == (now - 5_000_000, None, "")
    assert (error.time_us, error.exit_code, error.message) == (now - 1_000_000, 137, "killed by SIGKILL")
    assert (failed.states, failed.message) == ((S.FAILED,), "killed by SIGKILL")


def test_a_time_that_cannot_be_is_replaced_by_now(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    grant = launcher.grant("a")
    for time_us in (-1, 2**62):
        report = Report(grant.row_key, grant.fence, [(int(S.RUNNING), time_us)], None, "", False)
        bench.do(lambda tx, report=report: apply_reports(tx, launcher.session, [report]))
    event = bench.events_of(job_id)[-1]
    assert event.time_us == event.record_us


def test_what_comes_back_under_a_wrong_lease_is_refused_item_by_item(bench: Bench) -> None:
    launcher, other = bench.launcher(jobs=3), bench.launcher()
    for i in range(3):
        bench.add(f"j{i}")
    good, old, ended = launcher.grants
    assert launcher.report(ended, S.RUNNING, S.RUN_DONE, release=True)
    reports = [
        Report(good.row_key, good.fence, [(int(S.RUNNING), 0)], None, "", False),
        Report(old.row_key, old.fence - 1, [(int(S.RUNNING), 0)], None, "", False),
        Report(ended.row_key, ended.fence, [(int(S.RUN_DONE), 0)], None, "", True),
        Report(10**9, 1, [(int(S.RUNNING), 0)], None, "", False),
    ]
    refused = bench.do(lambda tx: apply_reports(tx, launcher.session, reports))
    assert refused == [(report.key, report.fence) for report in reports[1:]]
    assert not other.report(good, S.RUN_DONE, release=True)
    ids = [str(grant.job_id) for grant in launcher.grants]
    assert bench.states(*ids) == [S.RUNNING, S.PREPROCESSED, S.JOB_FINISHED]


def test_a_report_that_comes_twice_counts_once(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    grant = launcher.grant("a")
    for _ in range(2):
        assert launcher.report(grant, S.RUNNING)
    assert launcher.report(grant, S.RUN_DONE, release=True)
    assert not launcher.report(grant, S.RUN_DONE, release=True)
    assert bench.history(job_id).count(S.RUN_DONE) == 1


def test_a_launcher_that_comes_back_after_its_lease_changes_nothing(bench: Bench) -> None:
    stale, fresh = bench.launcher(jobs=1), bench.launcher()
    job_id = bench.add("a")
    stale.start(stale.grant("a"))
    bench.end(stale)
    fresh.give(jobs=1)
    assert fresh.grant("a").fence == 2
    assert not stale.report(stale.grant("a"), S.RUN_DONE, release=True)
    assert bench.state(job_id) is S.RESTART_READY
    fresh.finish(fresh.grant("a"))
    assert bench.state(job_id) is S.JOB_FINISHED


def test_a_job_given_back_before_it_started_was_no_attempt(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    assert launcher.report(launcher.grant("a"), release=True)
    assert (bench.row(job_id).attempt, bench.state(job_id)) == (0, S.PREPROCESSED)
    launcher.give(jobs=1)
    assert (launcher.grant("a").attempt, launcher.grant("a").fence) == (1, 2)


def test_a_run_that_is_given_back_without_its_end_was_cut_off(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    launcher.start(launcher.grant("a"))
    assert launcher.report(launcher.grant("a"), release=True, message="the node went down")
    assert bench.history(job_id)[-3:] == [S.RUNNING, S.RUN_TIMEOUT, S.RESTART_READY]
    assert bench.row(job_id).attempt == 1


@pytest.mark.parametrize(("retry", "end"), [(True, S.RESTART_READY), (False, S.FAILED)])
def test_a_time_out_is_retried_unless_the_job_says_otherwise(bench: Bench, retry: bool, end: State) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a", auto_timeout_retry=retry, max_restarts=0)
    launcher.finish(launcher.grant("a"), S.RUN_TIMEOUT, message="time limit of the launcher")
    assert bench.state(job_id) is end
    assert bench.row(job_id).restarts == 0
    if end is S.FAILED:
        assert bench.message(job_id) == "time limit of the launcher"


def test_time_outs_in_a_row_are_counted_until_a_run_ends_by_itself(bench: Bench) -> None:
    job_id = bench.add("a", max_restarts=9)
    counted = []
    for end in (S.RUN_TIMEOUT, S.RUN_TIMEOUT, S.RUN_DONE):
        launcher = bench.launcher(jobs=1)
        launcher.finish(launcher.grant("a"), end)
        counted.append(bench.get(job_id)["timeouts"])
        bench.end(launcher)
    bench.set_state(job_id, S.RESTART_READY)
    lost = bench.launcher(jobs=1)
    lost.start(lost.grant("a"))
    bench.end(lost)
    assert counted == [1, 2, 0]
    assert bench.get(job_id)["timeouts"] == 0


def test_moves_that_the_graph_does_not_allow_a_launcher_are_dropped(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    launcher.report(launcher.grant("a"), S.RUN_DONE)
    launcher.report(launcher.grant("a"), S.RUNNING, S.JOB_FINISHED)
    assert bench.state(job_id) is S.PREPROCESSED


# A lease that is taken back


def test_a_run_that_was_started_while_its_lease_was_taken_back_does_not_count(bench: Bench) -> None:
    launcher = bench.launcher(jobs=9)
    parent, child = bench.add("parent", num_nodes=200), bench.add("child")
    grant = launcher.grant("child")
    bench.depend(parent, child)
    assert launcher.report(grant, S.RUNNING)  # it has not heard yet
    assert bench.state(child) is S.PREPROCESSED
    assert launcher.report(grant, S.RUN_DONE, release=True)
    assert bench.state(child) is S.AWAITING_PARENTS
    bench.set_state(parent, S.JOB_FINISHED)
    launcher.finish(launcher.grant("child"))
    assert bench.state(child) is S.JOB_FINISHED


def test_a_lease_that_was_taken_back_while_the_line_was_down_is_stopped_when_it_is_up(bench: Bench) -> None:
    launcher = bench.launcher(jobs=9)
    job_id = bench.add("a")
    grant = launcher.grant("a")
    del bench.store.streams[launcher.session.key]
    bench.update(job_id, args="new")
    launcher.attach(grant)
    assert launcher.stops == [(grant.row_key, grant.fence)]
    launcher.report(grant, release=True)
    launcher.give(jobs=1)
    assert (launcher.grant("a").detail[0], launcher.grant("a").attempt) == ("new", 1)


def test_a_lease_that_was_taken_back_and_never_received_is_free_again(bench: Bench) -> None:
    launcher = bench.launcher(jobs=9)
    job_id = bench.add("a")
    bench.update(job_id, args="new")
    launcher.attach()
    assert not bench.get(job_id)["leased"]


def test_staging_goes_back_to_wait_for_a_new_parent(bench: Bench) -> None:
    scheduler = bench.schedule(jobs=9)
    parent, child = bench.add("parent"), bench.add("child", stage_in_url="/tmp/x")
    grant = scheduler.grant("child")
    bench.depend(parent, child)
    assert scheduler.stops == [(grant.row_key, grant.fence)]
    scheduler.report(grant, S.STAGED_IN, release=True)
    assert bench.state(child) is S.AWAITING_PARENTS
    bench.set_state(parent, S.JOB_FINISHED)
    assert (scheduler.grant("child").fence, scheduler.grant("child").tries) == (2, 1)


# A line that is opened again


def test_a_line_that_is_opened_again_brings_what_was_not_received(bench: Bench) -> None:
    launcher = bench.launcher(jobs=2)
    bench.add("received")
    bench.add("lost on the way")
    received = launcher.grant("received")
    launcher.attach(received)
    assert launcher.names == ["lost on the way"]
    assert launcher.grants[0].detail
    assert launcher.grants[0].attempt == 1
    assert launcher.stops == []
    launcher.finish(launcher.grants[0])
    launcher.finish(received)


def test_a_line_that_is_opened_again_stops_what_is_not_held_any_more(bench: Bench) -> None:
    launcher = bench.launcher(jobs=3)
    killed, edited = bench.add("killed"), bench.add("edited")
    grants = [launcher.grant("killed"), launcher.grant("edited")]
    launcher.start(grants[0])
    bench.kill(killed)
    gone = bench.add("gone")
    grants.append(launcher.grant("gone"))
    bench.delete(gone, kill_running=True)
    launcher.attach(*grants)
    assert launcher.stops == [(grants[0].row_key, grants[0].fence), (grants[2].row_key, grants[2].fence)]
    assert bench.state(edited) is S.PREPROCESSED


def test_a_run_of_which_its_launcher_knows_nothing_any_more_is_lost(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    launcher.start(launcher.grant("a"))
    launcher.attach()
    assert bench.history(job_id)[-3:] == [S.RUNNING, S.RUN_TIMEOUT, S.RESTART_READY]
    assert bench.row(job_id).restarts == 1


def test_a_kill_is_told_to_who_holds_the_job_at_once(bench: Bench) -> None:
    job_id = bench.add("a")
    launcher = bench.launcher(jobs=1)
    grant = launcher.grant("a")
    launcher.start(grant)
    bench.kill(job_id)
    assert launcher.stops == [(grant.row_key, grant.fence)]


def test_a_kill_that_the_launcher_did_not_hear_of_is_repeated_when_it_is_back(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    grant = launcher.grant("a")
    launcher.start(grant)
    del bench.store.streams[launcher.session.key]  # its line is down
    bench.kill(job_id)
    launcher.attach(grant)
    assert launcher.stops == [(grant.row_key, grant.fence)]


def test_the_second_line_of_a_session_takes_the_place_of_the_first(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    first = launcher.stream
    deliveries = []
    first.deliver = deliveries.append
    launcher.attach()
    assert [delivery.grants_sent for delivery in deliveries] == [-1]
    bench.add("a")
    assert launcher.grants == []  # a new line has no credit yet
    launcher.give(jobs=1)
    assert launcher.names == ["a"]


def test_a_scheduler_that_comes_back_has_room_for_more(bench: Bench) -> None:
    bench.add_app("app", preprocess="pre")
    scheduler = bench.schedule()
    scheduler.give(nodes=2.0, jobs=2)
    bench.add("wide", num_nodes=50, application="app")
    scheduler.attach()
    scheduler.give(nodes=2.0, jobs=2, seen=0)
    bench.add("more", application="app")
    assert scheduler.names == ["wide", "more"]


# The end of a session


def test_the_jobs_of_a_lost_launcher_go_on_until_their_restarts_are_used_up(bench: Bench) -> None:
    job_id = bench.add("a", max_restarts=2, auto_timeout_retry=False)
    for number in range(1, 4):
        launcher = bench.launcher(jobs=1)
        launcher.start(launcher.grant("a"))
        assert bench.end(launcher) == 1
        assert bench.row(job_id).restarts == number
        assert bench.row(job_id).attempt == number
    messages = [event.message for event in bench.events_of(job_id)[-2:]]
    lost = "launcher lost: launcher on node1 (pid 1) was not heard of any more"
    assert messages == [lost, f"{lost}; max_restarts is used up"]
    assert bench.state(job_id) is S.FAILED
    events = bench.events_of(job_id)
    assert [Actor(event.actor).name for event in events if S.RUN_TIMEOUT in event.states] == ["JOBSTORE"] * 3


def test_a_launcher_that_is_lost_before_it_started_a_job_costs_no_restart(bench: Bench) -> None:
    job_id = bench.add("a", max_restarts=0)
    bench.end(bench.launcher(jobs=1))
    assert (bench.state(job_id), bench.row(job_id).restarts) == (S.PREPROCESSED, 0)


def test_a_run_that_was_spared_uses_up_no_restart_until_the_job_itself_is_suspected(bench: Bench) -> None:
    job_id = bench.add("a", max_restarts=0)
    launcher = bench.launcher(jobs=MOST_SPARED + 1)
    for attempt in range(1, MOST_SPARED + 1):
        launcher.start(launcher.grants[-1])
        assert launcher.report(launcher.grants[-1], release=True, spared=True, message="n3 was lost")
        assert (bench.row(job_id).restarts, bench.row(job_id).attempt) == (0, attempt + 1)
    launcher.start(launcher.grants[-1])
    assert launcher.report(launcher.grants[-1], release=True, spared=True, message="n3 was lost")
    assert bench.state(job_id) is S.FAILED
    assert bench.message(job_id) == "n3 was lost; max_restarts is used up"


def test_a_killed_job_of_a_lost_launcher_stays_killed(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    launcher.start(launcher.grant("a"))
    bench.kill(job_id)
    bench.end(launcher)
    assert bench.state(job_id) is S.USER_KILLED
    assert not bench.get(job_id)["leased"]


def test_the_end_of_a_session_may_be_said_twice(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    bench.add("a")
    assert [bench.end(launcher), bench.end(launcher)] == [1, 0]


def test_a_session_that_has_ended_is_given_nothing(bench: Bench) -> None:
    launcher = bench.launcher(jobs=5)
    bench.end(launcher)
    bench.add("a")
    assert launcher.grants == []


def test_the_rules_of_a_scheduler_are_void_with_its_session(plain_bench: Bench) -> None:
    bench = plain_bench
    scheduler = bench.schedule()
    bench.end(scheduler)
    job_id = bench.add("a")
    assert bench.state(job_id) is S.CREATED
    bench.schedule()
    assert bench.state(job_id) is S.PREPROCESSED


def test_the_end_of_an_older_scheduler_leaves_the_rules_of_the_newer(plain_bench: Bench) -> None:
    bench = plain_bench
    older = bench.schedule()
    bench.schedule()
    bench.end(older)
    assert bench.state(bench.add("a")) is S.PREPROCESSED


def test_with_the_end_of_a_newer_scheduler_the_rules_of_the_older_are_in_force_again(plain_bench: Bench) -> None:
    bench = plain_bench
    bench.schedule()
    newer = bench.worker(SCHEDULER)
    bench.run(bench.store.register_rules(newer.session, []))
    job_id = bench.add("a")
    assert bench.state(job_id) is S.CREATED
    bench.end(newer)
    assert bench.state(job_id) is S.PREPROCESSED
    assert bench.state(bench.add("b")) is S.PREPROCESSED


def test_rules_of_a_session_that_has_ended_are_refused(plain_bench: Bench) -> None:
    bench = plain_bench
    scheduler = bench.worker(SCHEDULER)
    bench.end(scheduler)
    with pytest.raises(NotFound):
        bench.run(bench.store.register_rules(scheduler.session, list(RULE_SET)))


# Results that come late


@pytest.mark.parametrize("started", [True, False])
def test_a_late_result_counts_as_long_as_nobody_has_taken_over(bench: Bench, started: bool) -> None:
    job_id = bench.add("a")
    launcher = bench.launcher(jobs=1)
    grant = launcher.grant("a")
    if started:
        launcher.start(grant)
    bench.end(launcher)
    assert bench.state(job_id) is (S.RESTART_READY if started else S.PREPROCESSED)
    assert launcher.report_late(grant, exit_code=0)
    assert bench.history(job_id)[-4:] == [S.RUNNING, S.RUN_DONE, S.POSTPROCESSED, S.JOB_FINISHED]
    row = bench.row(job_id)
    assert (row.attempt, row.exit_code, row.lost) == (1, 0, 0)
    assert "the result of attempt 1 came late" in [event.message for event in bench.events_of(job_id)]


def test_a_late_result_may_be_an_error(bench: Bench) -> None:
    job_id = bench.add("a")
    launcher = bench.launcher(jobs=1)
    bench.end(launcher)
    assert launcher.report_late(launcher.grant("a"), S.RUN_ERROR, exit_code=3)
    assert (bench.state(job_id), bench.row(job_id).exit_code) == (S.FAILED, 3)


def test_a_late_result_counts_once(bench: Bench) -> None:
    job_id = bench.add("a")
    launcher = bench.launcher(jobs=1)
    bench.end(launcher)
    assert launcher.report_late(launcher.grant("a"))
    before = bench.history(job_id)
    assert not launcher.report_late(launcher.grant("a"))
    bench.set_state(job_id, S.RESTART_READY)
    assert not launcher.report_late(launcher.grant("a"))
    assert bench.history(job_id) == [*before, S.RESTART_READY]


def test_a_late_result_is_refused_when_somebody_else_has_taken_over(bench: Bench) -> None:
    job_id = bench.add("a")
    first = bench.launcher(jobs=1)
    bench.end(first)
    second = bench.launcher(jobs=1)
    assert not first.report_late(first.grant("a"))
    second.finish(second.grant("a"), S.RUN_ERROR)
    assert not first.report_late(first.grant("a"))
    assert bench.state(job_id) is S.FAILED


def test_a_late_result_is_refused_when_somebody_else_has_taken_over_and_is_lost_too(bench: Bench) -> None:
    job_id = bench.add("a")
    first = bench.launcher(jobs=1)
    bench.end(first)
    second = bench.launcher(jobs=1)
    bench.end(second)
    assert not first.report_late(first.grant("a"))
    assert bench.state(job_id) is S.PREPROCESSED
    assert second.report_late(second.grant("a"))


@pytest.mark.parametrize("what", ["kill", "move", "edit", "parent"])
def test_a_late_result_is_refused_when_a_user_has_decided_otherwise(bench: Bench, what: str) -> None:
    job_id = bench.add("a")
    launcher = bench.launcher(jobs=1)
    bench.end(launcher)
    match what:
        case "kill":
            bench.kill(job_id)
        case "move":
            bench.set_state(job_id, S.CREATED)
        case "edit":
            bench.update(job_id, args="anew")
        case "parent":
            bench.depend(bench.add("b"), job_id)
    before = bench.history(job_id)
    assert not launcher.report_late(launcher.grant("a"))
    assert bench.history(job_id) == before


def test_a_job_that_only_changed_its_description_still_takes_a_late_result(bench: Bench) -> None:
    job_id = bench.add("a")
    launcher = bench.launcher(jobs=1)
    bench.end(launcher)
    bench.update(job_id, description="anew")
    assert launcher.report_late(launcher.grant("a"))


def test_a_result_from_the_ledger_of_a_dead_launcher_counts_while_its_session_lives(bench: Bench) -> None:
    job_id = bench.add("a")
    launcher = bench.launcher(jobs=1)
    launcher.start(launcher.grant("a"))
    assert launcher.report_late(launcher.grant("a"))
    assert bench.state(job_id) is S.JOB_FINISHED
    assert bench.row(job_id).session is None
    assert not launcher.report_late(launcher.grant("a"))


def test_a_launcher_that_gave_a_job_back_has_no_result_of_it(bench: Bench) -> None:
    job_id = bench.add("a")
    launcher = bench.launcher(jobs=1)
    assert launcher.report(launcher.grant("a"), release=True)
    bench.end(launcher)
    assert not launcher.report_late(launcher.grant("a"))
    assert bench.state(job_id) is S.PREPROCESSED


# Drained


def drained(bench: Bench, workflow_filter: str = "", **credit: object) -> bool:
    return bench.launcher(workflow_filter=workflow_filter, **({"jobs": 0} | credit)).ask_drained()


def test_an_empty_store_is_drained(bench: Bench) -> None:
    assert drained(bench)


@pytest.mark.parametrize("state", [S.JOB_FINISHED, S.FAILED, S.USER_KILLED])
def test_jobs_that_have_ended_do_not_hold_a_launcher(bench: Bench, state: State) -> None:
    bench.set_state(bench.add("a"), state)
    assert drained(bench)


def test_a_job_that_can_run_here_holds_a_launcher(bench: Bench) -> None:
    bench.add("a")
    assert not drained(bench)


@pytest.mark.parametrize(
    "fields",
    [
        {"num_nodes": 101},
        {"wall_time_minutes": 20},
        {"ranks_per_node": 9},
        {"workflow": "other"},
        {"gpus_per_rank": 2},
        {"threads_per_rank": 9, "cpu_affinity": "depth"},
    ],
)
def test_a_job_that_cannot_run_here_does_not_hold_a_launcher(bench: Bench, fields: dict[str, object]) -> None:
    bench.add("a", **({"workflow": "mine"} | fields))
    assert drained(bench, "mine", minutes=10.0, ranks_per_node=8, node_kinds=alike(cores=8, gpus=1))


def test_a_job_that_runs_elsewhere_holds_a_launcher(bench: Bench) -> None:
    other = bench.launcher(jobs=1)
    bench.add("a")
    assert not drained(bench)
    other.finish(other.grant("a"))
    assert drained(bench)


def test_a_job_that_moves_holds_a_launcher(plain_bench: Bench) -> None:
    plain_bench.add("a")
    assert not drained(plain_bench)


def test_a_job_that_only_waits_does_not_hold_a_launcher(bench: Bench) -> None:
    bench.add("child", parents=[bench.add("parent", num_nodes=200)])
    assert drained(bench)


def test_a_job_outside_the_filter_holds_a_launcher_only_if_some_inside_wait_for_it(bench: Bench) -> None:
    other = bench.launcher(jobs=1)
    parent = bench.add("parent", workflow="other")
    assert drained(bench, "mine")
    between = bench.add("between", workflow="other", parents=[parent])
    bench.add("child", workflow="mine", parents=[between])
    assert not drained(bench, "mine")
    assert not drained(bench, "m*")
    other.finish(other.grant("parent"), S.RUN_ERROR)
    assert drained(bench, "mine")


def test_a_launcher_is_told_when_nothing_is_left(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    bench.add("a")
    assert not launcher.ask_drained()
    launcher.finish(launcher.grant("a"))
    assert launcher.drained


def test_a_question_is_answered_once(bench: Bench) -> None:
    launcher: Worker = bench.launcher(jobs=0)
    assert launcher.ask_drained()
    launcher.drained = False
    bench.do(lambda tx: None)
    assert not launcher.drained
