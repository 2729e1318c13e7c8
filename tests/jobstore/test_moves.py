"""Moves: the graph is enforced by actor, and what follows from a move happens in the same transaction."""

from __future__ import annotations

import pytest

from balsam.errors import BalsamError, Conflict, InvalidStateError, NotAllowed, NotFound, ValidationError
from balsam.states import TRANSITIONS, Actor, State, names
from balsam_jobstore import jobs
from balsam_jobstore.tx import Tx
from tests.support.store import Bench, job, one

S = State


def chain(bench: Bench, length: int) -> list[str]:
    """Jobs that wait for each other in a row."""
    made = [job("j0")]
    for i in range(1, length):
        made.append(job(f"j{i}", parents=[made[-1].job_id]))
    bench.create(*made)
    return [new.job_id for new in made]


# The graph


def test_a_user_and_a_script_move_jobs_as_the_graph_allows_them(plain_bench: Bench) -> None:
    bench = plain_bench
    for actor in (Actor.USER, Actor.SCRIPT):
        for source in (S.CREATED, S.JOB_FINISHED, S.FAILED, S.USER_KILLED):
            for target in S:
                job_id = bench.add(source.name)
                if source is not S.CREATED:
                    bench.set_state(job_id, source)
                before = bench.history(job_id)
                if target in TRANSITIONS[actor][source]:
                    bench.set_state(job_id, target, actor=actor, message="why")
                    assert bench.history(job_id) == [*before, target]
                    assert (bench.message(job_id), bench.events_of(job_id)[-1].actor) == ("why", actor)
                else:
                    with pytest.raises(InvalidStateError) as caught:
                        bench.set_state(job_id, target, actor=actor)
                    assert bench.history(job_id) == before
                    assert source.name in str(caught.value)
                    assert names(TRANSITIONS[actor][source]) in str(caught.value)


def test_only_a_killed_job_stays_killed(bench: Bench) -> None:
    job_id = bench.add("a")
    bench.kill(job_id)
    with pytest.raises(InvalidStateError, match="is USER_KILLED and stays so"):
        bench.set_state(job_id, S.CREATED)


def test_a_move_that_is_refused_leaves_nothing(bench: Bench) -> None:
    job_id = bench.add("a")
    bench.set_state(job_id, S.JOB_FINISHED)
    with pytest.raises(InvalidStateError):
        bench.do(lambda tx: jobs.update(tx, one(tx, job_id), {"priority": 5, "state": "RUNNING"}))
    assert bench.row(job_id).priority == 0


def test_setting_the_state_that_is_there_changes_nothing(bench: Bench) -> None:
    job_id = bench.add("a")
    bench.update(job_id, state="PREPROCESSED")
    assert len(bench.events_of(job_id)) == 2


def test_all_that_follows_from_a_move_is_one_transaction(bench: Bench) -> None:
    first, second = chain(bench, 2)
    before = len(bench.events)
    bench.do(lambda tx: jobs.set_state(tx, one(tx, first), S.RUN_DONE, Actor.USER))
    assert bench.history(first)[-3:] == [S.RUN_DONE, S.POSTPROCESSED, S.JOB_FINISHED]
    assert bench.state(second) is S.PREPROCESSED
    assert len({event.record_us for event in bench.events[before:]}) == 1


def test_without_rules_nothing_follows(plain_bench: Bench) -> None:
    job_id = plain_bench.add("a")
    plain_bench.set_state(job_id, S.RUN_DONE)
    assert plain_bench.state(job_id) is S.RUN_DONE


# Children


def test_one_releases_a_thousand_and_they_release_one(bench: Bench) -> None:
    top = job("top")
    middle = [job(f"m{i}", parents=[top.job_id]) for i in range(1000)]
    bottom = job("bottom", parents=[new.job_id for new in middle])
    assert bench.create(top, *middle, bottom).created == 1002
    by_state = "SELECT state, count(*) FROM job GROUP BY state ORDER BY state"

    bench.set_state(top.job_id, S.JOB_FINISHED)
    assert bench.sql(by_state) == [(S.AWAITING_PARENTS, 1), (S.PREPROCESSED, 1000), (S.JOB_FINISHED, 1)]

    ids = [new.job_id for new in middle]
    bench.do(lambda tx: [jobs.set_state(tx, one(tx, i), S.JOB_FINISHED, Actor.USER) for i in ids[1:]] and None)
    assert bench.row(bottom.job_id).unmet == 1
    bench.set_state(ids[0], S.JOB_FINISHED)
    assert bench.state(bottom.job_id) is S.PREPROCESSED


@pytest.mark.parametrize("end", [S.FAILED, S.USER_KILLED])
def test_failure_is_passed_down_with_the_name_of_the_parent(bench: Bench, end: State) -> None:
    ids = chain(bench, 4)
    bench.set_state(ids[0], end)
    assert bench.states(*ids[1:]) == [S.FAILED] * 3
    assert bench.message(ids[1]) == f"parent j0 ({ids[0][:8]}), {end.name}, ended without finishing"
    assert bench.message(ids[2]) == f"parent j1 ({ids[1][:8]}), FAILED, ended without finishing"


def test_a_child_that_has_run_does_not_fail_with_its_parent(bench: Bench) -> None:
    first, second = chain(bench, 2)
    bench.set_state(first, S.JOB_FINISHED)
    bench.set_state(second, S.RUN_DONE)
    bench.set_state(first, S.FAILED)
    assert bench.state(second) is S.JOB_FINISHED


def test_failure_passes_down_a_long_chain_and_a_reset_brings_it_back(bench: Bench) -> None:
    ids = chain(bench, 600)
    bench.set_state(ids[0], S.FAILED)
    assert bench.sql("SELECT count(*) FROM job WHERE state = 13") == [(600,)]
    bench.set_state(ids[0], S.RESTART_READY)
    assert bench.sql("SELECT count(*) FROM job WHERE state = 2") == [(599,)]
    assert bench.history(ids[-1]) == [S.CREATED, S.AWAITING_PARENTS, S.FAILED, S.AWAITING_PARENTS]
    assert Actor(bench.events_of(ids[-1])[-1].actor) is Actor.JOBSTORE
    assert bench.message(ids[1]) == f"j0 ({ids[0][:8]}) was reset"


def test_a_reset_brings_back_only_what_failed_because_of_it(bench: Bench) -> None:
    parent = bench.add("parent")
    by_itself, killed, waits = (bench.add(name, parents=[parent]) for name in ("by_itself", "killed", "waits"))
    bench.set_state(by_itself, S.FAILED)
    bench.kill(killed)
    bench.set_state(parent, S.FAILED)
    bench.set_state(parent, S.CREATED)
    assert bench.states(by_itself, killed, waits) == [S.FAILED, S.USER_KILLED, S.AWAITING_PARENTS]


def test_a_child_of_two_failed_parents_comes_back_when_both_are_reset(bench: Bench) -> None:
    one_, other = bench.add("one"), bench.add("other")
    child = bench.add("child", parents=[one_, other])
    bench.set_state(one_, S.FAILED)
    bench.set_state(other, S.FAILED)
    bench.set_state(one_, S.CREATED)
    assert bench.state(child) is S.FAILED
    bench.set_state(other, S.CREATED)
    assert bench.state(child) is S.AWAITING_PARENTS
    for parent in (one_, other):
        bench.set_state(parent, S.JOB_FINISHED)
    assert bench.state(child) is S.PREPROCESSED


def test_a_child_that_comes_back_waits_for_a_parent_that_was_reset_meanwhile(bench: Bench) -> None:
    finished, failed = bench.add("finished"), bench.add("failed")
    child = bench.add("child", parents=[finished, failed])
    bench.set_state(finished, S.JOB_FINISHED)
    bench.set_state(failed, S.FAILED)
    bench.set_state(finished, S.CREATED)
    bench.set_state(failed, S.CREATED)
    bench.set_state(failed, S.JOB_FINISHED)
    assert bench.state(child) is S.AWAITING_PARENTS
    bench.set_state(finished, S.JOB_FINISHED)
    assert bench.state(child) is S.PREPROCESSED


def test_a_child_that_is_reset_under_a_failed_parent_fails_again_and_says_why(bench: Bench) -> None:
    parent, child = chain(bench, 2)
    bench.kill(parent)
    bench.set_state(child, S.CREATED)
    assert bench.state(child) is S.FAILED
    assert f"j0 ({parent[:8]}), USER_KILLED," in bench.message(child)


def test_a_failed_parent_that_is_set_to_finished_releases_its_children(bench: Bench) -> None:
    parent, child, grandchild = chain(bench, 3)
    bench.set_state(parent, S.FAILED)
    bench.set_state(parent, S.JOB_FINISHED)
    assert bench.states(child, grandchild) == [S.PREPROCESSED, S.AWAITING_PARENTS]


def test_a_reset_of_a_finished_parent_holds_only_the_children_that_wait(bench: Bench) -> None:
    parent = bench.add("parent")
    before, after = bench.add("before", parents=[parent]), bench.add("after", parents=[parent])
    free = bench.add("free", parents=[parent], wait_for_parents=False)
    bench.set_state(parent, S.JOB_FINISHED)
    bench.set_state(after, S.JOB_FINISHED)
    bench.set_state(parent, S.CREATED)
    assert bench.states(before, after, free) == [S.AWAITING_PARENTS, S.JOB_FINISHED, S.PREPROCESSED]
    bench.set_state(parent, S.JOB_FINISHED)
    assert bench.state(before) is S.PREPROCESSED


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_a_workflow_that_is_run_again_runs_in_order_again(bench: Bench, order: list[int]) -> None:
    ids = chain(bench, 3)
    for job_id in ids:
        bench.set_state(job_id, S.JOB_FINISHED)
    bench.do(lambda tx: [jobs.set_state(tx, one(tx, ids[i]), S.CREATED, Actor.USER) for i in order] and None)
    assert bench.states(*ids) == [S.PREPROCESSED, S.AWAITING_PARENTS, S.AWAITING_PARENTS]


def test_a_job_that_begins_to_wait_looks_at_its_parents(bench: Bench) -> None:
    pending, failed = bench.add("pending"), bench.add("failed")
    bench.set_state(failed, S.FAILED)
    waits = bench.add("a", parents=[pending], wait_for_parents=False)
    fails = bench.add("b", parents=[pending, failed], wait_for_parents=False)
    for job_id in (waits, fails):
        bench.update(job_id, wait_for_parents=True)
    assert bench.states(waits, fails) == [S.AWAITING_PARENTS, S.FAILED]
    assert "failed (" in bench.message(fails)


def test_a_job_that_waits_no_longer_goes_on(bench: Bench) -> None:
    child = bench.add("child", parents=[bench.add("parent")])
    bench.update(child, wait_for_parents=False)
    assert bench.state(child) is S.PREPROCESSED


# Deletion


def test_children_of_a_deleted_parent_fail_with_that_reason(bench: Bench) -> None:
    ids = chain(bench, 3)
    assert bench.delete(ids[0])[0] == 1
    assert bench.states(*ids[1:]) == [S.FAILED, S.FAILED]
    assert bench.message(ids[1]) == f"parent j0 ({ids[0][:8]}) was deleted"
    assert "j1" in bench.message(ids[2])


def test_a_chain_is_deleted_as_a_whole(bench: Bench) -> None:
    ids = chain(bench, 4)
    assert bench.delete(*ids[:3])[0] == 3
    assert bench.state(ids[3]) is S.FAILED
    assert bench.sql("SELECT count(*) FROM edge") == [(0,)]


def test_a_finished_parent_may_be_deleted(bench: Bench) -> None:
    parent, child = chain(bench, 2)
    bench.set_state(parent, S.JOB_FINISHED)
    bench.delete(parent)
    assert bench.state(child) is S.PREPROCESSED
    assert bench.get(child)["parents"] == []


def test_a_deleted_job_may_be_added_again(bench: Bench) -> None:
    new = job("a")
    bench.create(new)
    bench.delete(new.job_id)
    assert bench.create(new).created == 1
    assert bench.history(new.job_id)[0] is S.CREATED


def test_jobs_that_were_killed_and_are_deleted_at_once_leave_nothing(bench: Bench) -> None:
    parent, child = chain(bench, 2)
    bench.writer.do_together(
        lambda tx: jobs.kill(tx, [one(tx, parent)], recursive=False, actor=Actor.USER, message="killed"),
        lambda tx: jobs.delete(tx, [one(tx, parent)], kill_running=False),
    )
    assert bench.state(child) is S.FAILED


def test_a_leased_job_is_deleted_only_with_kill(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    launcher.start(launcher.grant("a"))
    count, refusals = bench.delete(job_id)
    assert (count, refusals[0].reason) == (0, "IN_USE")
    assert "RUNNING" in refusals[0].message

    assert bench.delete(job_id, kill_running=True)[0] == 1
    assert launcher.stops == [(launcher.grants[0].row_key, launcher.grants[0].fence)]
    assert not launcher.report(launcher.grants[0], S.RUN_DONE, release=True)


# Kill


def test_a_kill_is_of_one_job_and_its_children_fail(bench: Bench) -> None:
    ids = chain(bench, 2)
    assert bench.kill(ids[0]).killed == 1
    assert bench.states(*ids) == [S.USER_KILLED, S.FAILED]


def test_a_kill_of_a_subtree_is_one_transaction_and_passes_through_ended_jobs(bench: Bench) -> None:
    ids = chain(bench, 4)
    for job_id in ids[:2]:
        bench.set_state(job_id, S.JOB_FINISHED)
    bench.set_state(ids[0], S.CREATED)
    outcome = bench.kill(ids[0], recursive=True)
    assert (outcome.killed, outcome.already_ended) == (3, 1)
    assert bench.states(*ids) == [S.USER_KILLED, S.JOB_FINISHED, S.USER_KILLED, S.USER_KILLED]


def test_a_kill_of_a_diamond_counts_every_job_once(bench: Bench) -> None:
    top = bench.add("top")
    sides = [bench.add(f"side{i}", parents=[top]) for i in range(2)]
    bottom = bench.add("bottom", parents=sides)
    outcome = bench.kill(top, bottom, recursive=True)
    assert (outcome.killed, outcome.already_ended) == (4, 0)


def test_a_running_job_is_killed_at_once_and_its_lease_lasts_until_its_processes_have_ended(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    parent, child = chain(bench, 2)
    grant = launcher.grant("j0")
    launcher.start(grant)
    outcome = bench.kill(parent)
    assert (outcome.killed, outcome.stopping) == (1, 1)
    assert bench.states(parent, child) == [S.USER_KILLED, S.FAILED]
    assert launcher.stops == [(grant.row_key, grant.fence)]
    assert bench.get(parent)["leased"]

    assert launcher.report(grant, S.RUN_TIMEOUT, release=True, exit_code=143)
    assert bench.state(parent) is S.USER_KILLED
    assert not bench.get(parent)["leased"]


def test_a_run_that_ended_just_before_it_was_killed_stays_killed(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    launcher.start(launcher.grant("a"))
    bench.kill(job_id)
    assert launcher.report(launcher.grant("a"), S.RUN_DONE, release=True, exit_code=0)
    assert bench.history(job_id)[-2:] == [S.RUNNING, S.USER_KILLED]


# A user resets what runs


@pytest.mark.parametrize("target", [S.CREATED, S.RESTART_READY, S.JOB_FINISHED])
def test_a_running_job_that_is_reset_is_stopped_first(bench: Bench, target: State) -> None:
    launcher = bench.launcher(jobs=2)
    job_id = bench.add("a")
    first = launcher.grant("a")
    launcher.start(first)
    bench.set_state(job_id, target)
    assert launcher.stops == [(first.row_key, first.fence)]
    assert bench.state(job_id) is target  # what follows waits for the end of the lease
    assert launcher.report(first, S.RUN_ERROR, release=True, exit_code=-15)
    if target is S.JOB_FINISHED:
        assert bench.state(job_id) is S.JOB_FINISHED
    else:
        assert [grant.fence for grant in launcher.grants] == [first.fence, first.fence + 1]
        assert bench.row(job_id).attempt == 2


def test_children_of_a_running_job_that_is_set_to_finished_wait_until_its_run_has_ended(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    parent, child = chain(bench, 2)
    launcher.start(launcher.grant("j0"))
    bench.set_state(parent, S.JOB_FINISHED)
    late = bench.add("late", parents=[parent])
    assert bench.states(child, late) == [S.AWAITING_PARENTS] * 2
    launcher.report(launcher.grant("j0"), S.RUN_ERROR, release=True)
    assert bench.states(parent, child, late) == [S.JOB_FINISHED, S.PREPROCESSED, S.PREPROCESSED]


def test_a_job_is_not_restarted_past_its_parents(bench: Bench) -> None:
    parent, child = chain(bench, 2)
    bench.set_state(child, S.FAILED)
    with pytest.raises(InvalidStateError, match="waits for 1 parents that have not finished; set it to CREATED"):
        bench.set_state(child, S.RESTART_READY)
    bench.set_state(child, S.CREATED)
    assert bench.state(child) is S.AWAITING_PARENTS
    bench.set_state(parent, S.JOB_FINISHED)
    assert bench.state(child) is S.PREPROCESSED


def test_a_reset_starts_the_count_of_restarts_anew(bench: Bench) -> None:
    job_id = bench.add("a", max_restarts=0)
    launcher = bench.launcher(jobs=1)
    launcher.start(launcher.grant("a"))
    bench.end(launcher)
    assert (bench.state(job_id), bench.row(job_id).restarts) == (S.FAILED, 1)
    bench.set_state(job_id, S.RESTART_READY)
    assert (bench.row(job_id).restarts, bench.row(job_id).lost) == (0, 0)


# Scripts


@pytest.fixture
def scripted(bench: Bench) -> Bench:
    """A store with an application that has both scripts."""
    bench.add_app("app", preprocess="pre", postprocess="post")
    return bench


def test_a_state_that_a_script_sets_stands_and_what_follows_waits_for_the_script(scripted: Bench) -> None:
    bench = scripted
    scheduler = bench.schedule(jobs=4)
    parent = bench.add("parent", application="app")
    child = bench.add("child", parents=[parent])
    bench.set_state(parent, S.RUN_DONE)
    grant = scheduler.grant("parent")

    bench.set_state(parent, S.JOB_FINISHED, actor=Actor.SCRIPT)
    assert scheduler.stops == []  # the script goes on to its end
    assert bench.states(parent, child) == [S.JOB_FINISHED, S.AWAITING_PARENTS]

    assert scheduler.report(grant, S.POSTPROCESSED, release=True, exit_code=0)
    assert bench.states(parent, child) == [S.JOB_FINISHED, S.PREPROCESSED]
    assert S.POSTPROCESSED not in bench.history(parent)


def test_a_failure_that_a_script_sets_reaches_the_children_when_the_script_has_ended(scripted: Bench) -> None:
    bench = scripted
    scheduler = bench.schedule(jobs=4)
    parent = bench.add("parent", application="app")
    child = bench.add("child", parents=[parent])
    bench.set_state(parent, S.RUN_DONE)
    bench.set_state(parent, S.FAILED, actor=Actor.SCRIPT)
    late = bench.add("late", parents=[parent])
    assert bench.states(child, late) == [S.AWAITING_PARENTS] * 2
    scheduler.report(scheduler.grant("parent"), release=True)
    assert bench.states(child, late) == [S.FAILED] * 2


def test_a_script_that_restarts_its_job_is_waited_for(scripted: Bench) -> None:
    bench = scripted
    scheduler, launcher = bench.schedule(jobs=4), bench.launcher(jobs=4)
    job_id = bench.add("a", application="app", post_error_handler=True)
    bench.set_state(job_id, S.RUN_ERROR)
    grant = scheduler.grant("a")
    bench.set_state(job_id, S.RESTART_READY, actor=Actor.SCRIPT)
    assert launcher.grants == []
    scheduler.report(grant, S.FAILED, release=True, message="it did not change the state")
    assert [g.name for g in launcher.grants] == ["a"]
    assert bench.state(job_id) is S.RESTART_READY


def test_a_script_that_is_killed_with_its_job_is_stopped(scripted: Bench) -> None:
    bench = scripted
    scheduler = bench.schedule(jobs=4)
    job_id = bench.add("a", application="app")
    bench.kill(job_id)
    assert scheduler.stops == [(scheduler.grant("a").row_key, scheduler.grant("a").fence)]


def test_a_script_that_fails_fails_its_job(scripted: Bench) -> None:
    bench = scripted
    scheduler = bench.schedule(jobs=4)
    job_id = bench.add("a", application="app")
    assert scheduler.report(scheduler.grant("a"), S.FAILED, release=True, exit_code=3, message="exit code 3")
    assert (bench.state(job_id), bench.message(job_id), bench.get(job_id)["exit_code"]) == (S.FAILED, "exit code 3", 3)


def test_a_script_whose_worker_died_is_run_again_and_can_tell(scripted: Bench) -> None:
    bench = scripted
    scheduler = bench.schedule(jobs=4)
    bench.add("a", application="app")
    assert scheduler.grant("a").tries == 1
    bench.end(scheduler)
    again = bench.schedule(jobs=4)
    assert again.grant("a").tries == 2
    assert again.report(again.grant("a"), S.PREPROCESSED, release=True)


def test_a_run_sets_the_state_of_its_own_job(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    launcher.start(launcher.grant("a"))
    bench.do(lambda tx: jobs.update(tx, one(tx, job_id), {"state": "FAILED"}, actor=Actor.SCRIPT, message="no use"))
    assert [Actor(event.actor).name for event in bench.events_of(job_id)][-1] == "SCRIPT"


# Changes of fields


def test_a_change_with_the_revision_of_before_is_refused(bench: Bench) -> None:
    job_id = bench.add("a")
    revision = bench.row(job_id).revision
    bench.update(job_id, priority=1, expected_revision=revision)
    with pytest.raises(Conflict, match=rf"revision {revision + 1}, yours is of {revision}"):
        bench.update(job_id, priority=2, expected_revision=revision)
    assert bench.row(job_id).priority == 1


def test_of_two_checked_changes_in_one_transaction_the_second_is_refused(bench: Bench) -> None:
    job_id = bench.add("a")

    def command(tx: Tx) -> None:
        assert jobs.update(tx, one(tx, job_id), {"description": "first"}, expected_revision=1) == 2
        with pytest.raises(Conflict, match="revision 2, yours is of 1"):
            jobs.update(tx, one(tx, job_id), {"description": "second"}, expected_revision=1)
        assert jobs.update(tx, one(tx, job_id), {"priority": 1}) == 3
        assert jobs.update(tx, one(tx, job_id), {"priority": 1}) == 3  # nothing changes

    bench.do(command)
    assert (bench.get(job_id)["description"], bench.row(job_id).priority, bench.row(job_id).revision) == ("first", 1, 3)


def test_the_revision_rises_with_every_change_of_either_table(bench: Bench) -> None:
    job_id = bench.add("a")
    for number, change in enumerate(({"priority": 1}, {"data": {"x": 1}}, {"name": "b", "description": "d"}), 2):
        bench.update(job_id, **change)
        assert bench.row(job_id).revision == number


def test_fields_that_shape_a_run_are_refused_while_it_runs(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    job_id = bench.add("a")
    launcher.start(launcher.grant("a"))
    with pytest.raises(NotAllowed, match=r"args cannot change while job a .* is RUNNING"):
        bench.update(job_id, priority=3, args="x")
    assert bench.row(job_id).priority == 0
    bench.update(job_id, data={"progress": 1}, description="still goes", wall_time_minutes=5)


def test_an_edit_of_a_leased_job_that_has_not_started_takes_the_lease_back(bench: Bench) -> None:
    launcher = bench.launcher(jobs=5)
    job_id = bench.add("a")
    grant = launcher.grant("a")
    bench.update(job_id, args="new")
    assert launcher.stops == [(grant.row_key, grant.fence)]
    assert launcher.report(grant, release=True)
    assert (launcher.grants[-1].fence, launcher.grants[-1].detail[0], launcher.grants[-1].attempt) == (2, "new", 1)


def test_an_edit_that_does_not_shape_the_run_leaves_the_lease(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    bench.update(bench.add("a"), description="x", priority=7)
    assert launcher.stops == []


@pytest.mark.parametrize("field", ["job_id", "owner", "attempt", "working_directory", "revision"])
def test_a_field_that_cannot_be_changed_is_named(bench: Bench, field: str) -> None:
    job_id = bench.add("a")
    with pytest.raises(ValidationError, match=f"{field} cannot be changed") as caught:
        bench.do(lambda tx: jobs.update(tx, one(tx, job_id), {field: "x"}))
    assert caught.value.field == field


def test_a_change_that_is_refused_leaves_the_other_fields_alone(bench: Bench) -> None:
    job_id = bench.add("a")

    def refused_by_itself(tx: jobs.Tx) -> None:
        """As a bulk change does it: the refusal of one job does not undo the transaction."""
        with pytest.raises(BalsamError, match="nosuch"):
            jobs.update(tx, one(tx, job_id), {"priority": 5, "args": "x", "application": "nosuch"})

    bench.do(refused_by_itself)
    assert (bench.row(job_id).priority, bench.get(job_id)["args"]) == (0, "")


def test_an_application_with_scripts_is_given_later(scripted: Bench) -> None:
    bench = scripted
    bench.schedule(jobs=0)
    parent = bench.add("parent")
    job_id = bench.add("a", parents=[parent])
    bench.update(job_id, application="app")
    bench.set_state(parent, S.JOB_FINISHED)
    assert bench.state(job_id) is S.STAGED_IN
    bench.update(job_id, application="")
    assert bench.state(job_id) is S.PREPROCESSED


def test_stage_out_needs_both_a_place_and_files(bench: Bench) -> None:
    job_id = bench.add("a", stage_out_url="/tmp/x")
    bench.update(job_id, stage_out_files="*.dat")
    bench.set_state(job_id, S.RUN_DONE)
    assert bench.state(job_id) is S.POSTPROCESSED
    bench.update(job_id, stage_out_url="")
    assert bench.state(job_id) is S.JOB_FINISHED


def test_a_job_that_does_not_exist_is_named(bench: Bench) -> None:
    from balsam_jobstore.server.jobs import _one

    with pytest.raises(NotFound, match="there is no job 0000"):
        bench.do(lambda tx: _one(tx, "00000000-0000-4000-8000-000000000000"))
