"""Every rule of the checker, on a history that is right and on those that break it: each check can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from balsam.states import Actor, State
from tests.chaos.checker import CHECKS, check, reruns
from tests.chaos.plan import BOTH, JobPlan
from tests.chaos.records import Event, Fault, History, JobRow, parse_witness

USER, SCHEDULER, LAUNCHER, JOBSTORE = Actor.USER, Actor.SCHEDULER, Actor.LAUNCHER, Actor.JOBSTORE
S = State

Story = list[tuple[str, Actor, int, tuple[State, ...], int | None]]
"""Job, actor, attempt, states and exit code of each event."""

BEFORE = (S.READY, S.STAGED_IN, S.PREPROCESSED)
AFTER = (S.POSTPROCESSED, S.JOB_FINISHED)


def good() -> History:
    """A parent whose first launcher was killed, its child, one that fails, and one that a user kills."""
    story: Story = [
        ("parent", USER, 0, (S.CREATED,), None),
        ("child", USER, 0, (S.CREATED,), None),
        ("child", SCHEDULER, 0, (S.AWAITING_PARENTS,), None),
        ("fails", USER, 0, (S.CREATED,), None),
        ("killed", USER, 0, (S.CREATED,), None),
        ("parent", SCHEDULER, 0, BEFORE, None),
        ("fails", SCHEDULER, 0, BEFORE, None),
        ("killed", SCHEDULER, 0, BEFORE, None),
        ("parent", LAUNCHER, 1, (S.RUNNING,), None),
        ("parent", JOBSTORE, 1, (S.RUN_TIMEOUT,), None),
        ("parent", SCHEDULER, 1, (S.RESTART_READY,), None),
        ("killed", LAUNCHER, 1, (S.RUNNING,), None),
        ("parent", LAUNCHER, 2, (S.RUNNING,), None),
        ("killed", USER, 1, (S.USER_KILLED,), None),
        ("parent", LAUNCHER, 2, (S.RUN_DONE,), 0),
        ("parent", SCHEDULER, 2, AFTER, None),
        ("child", SCHEDULER, 0, BEFORE, None),
        ("fails", LAUNCHER, 1, (S.RUNNING, S.RUN_ERROR), 3),
        ("fails", SCHEDULER, 1, (S.FAILED,), None),
        ("child", LAUNCHER, 1, (S.RUNNING, S.RUN_DONE), 0),
        ("child", SCHEDULER, 1, AFTER, None),
    ]
    events = [
        Event(n, job, states, actor, attempt, code) for n, (job, actor, attempt, states, code) in enumerate(story, 1)
    ]
    plan = [
        JobPlan("parent", "parent", application=BOTH),
        JobPlan("child", "child", ["parent"]),
        JobPlan("fails", "fails", code=3),
        JobPlan("killed", "killed", action="kill"),
    ]
    witnesses = {
        "parent": "begin pre 1, end pre 1 0, begin run 1, begin run 2, end run 2 0, begin post 1, end post 1 0",
        "child": "begin run 1, end run 1 0",
        "fails": "begin run 1, end run 1 3",
        "killed": "begin run 1",
    }
    return History(
        plan={job.job_id: job for job in plan},
        added={job.job_id for job in plan},
        killed={"killed"},
        touched={"killed": "kill"},
        jobs={
            "parent": JobRow("parent", S.JOB_FINISHED, attempt=2, restarts=1),
            "child": JobRow("child", S.JOB_FINISHED, attempt=1),
            "fails": JobRow("fails", S.FAILED, attempt=1),
            "killed": JobRow("killed", S.USER_KILLED, attempt=1),
        },
        events=events,
        stream=list(events),
        witnesses={job: list(parse_witness(text.split(", "))) for job, text in witnesses.items()},
        faults=[Fault("SIGKILL", "launcher")],
    )


def witness(history: History, job: str, text: str) -> None:
    history.witnesses[job] = list(parse_witness(text.split(", ")))


def event(history: History, job: str, actor: Actor, attempt: int, *states: State, code: int | None = None) -> None:
    """Adds an event, to the log and to the stream."""
    added = Event(len(history.events) + 1, job, states, actor, attempt, code)
    history.events.append(added)
    history.stream.append(added)


def row(history: History, job: str, **changes: object) -> None:
    history.jobs[job] = replace(history.jobs[job], **changes)  # type: ignore[arg-type]


def lose_a_job(history: History) -> None:
    del history.jobs["child"]


def add_a_job_that_nobody_added(history: History) -> None:
    history.jobs["other"] = JobRow("other", S.JOB_FINISHED)


def never_acknowledge_a_job(history: History) -> None:
    history.added.remove("child")


def finish_a_killed_job(history: History) -> None:
    row(history, "killed", state=S.JOB_FINISHED)


def leave_a_job_waiting(history: History) -> None:
    row(history, "child", state=S.PREPROCESSED)


def leave_a_lease(history: History) -> None:
    row(history, "child", leased=True)


def fail_a_job_for_nothing(history: History) -> None:
    row(history, "child", state=S.FAILED)


def kill_a_job_that_nobody_killed(history: History) -> None:
    row(history, "child", state=S.USER_KILLED)


def finish_a_job_that_fails(history: History) -> None:
    row(history, "fails", state=S.JOB_FINISHED)


def report_a_run_that_has_not_ended(history: History) -> None:
    witness(history, "child", "begin run 1")


def accept_the_end_of_an_older_attempt(history: History) -> None:
    """What is written down is the newest attempt: only the witness knows whose end it was."""
    witness(
        history,
        "parent",
        "begin pre 1, end pre 1 0, begin run 1, end run 1 0, begin run 2, begin post 1, end post 1 0",
    )


def report_another_exit_code(history: History) -> None:
    witness(history, "fails", "begin run 1, end run 1 0")


def leave_out_a_script(history: History) -> None:
    witness(history, "parent", "begin pre 1, end pre 1 0, begin run 1, begin run 2, end run 2 0, begin post 1")


def accept_an_end_twice(history: History) -> None:
    event(history, "child", LAUNCHER, 1, S.RUN_DONE, code=0)


def accept_a_start_twice(history: History) -> None:
    event(history, "child", LAUNCHER, 1, S.RUNNING)


def accept_an_old_attempt(history: History) -> None:
    event(history, "parent", LAUNCHER, 1, S.RUNNING)


def report_an_attempt_that_was_not_granted(history: History) -> None:
    event(history, "parent", LAUNCHER, 3, S.RUNNING)


def release_a_child_too_early(history: History) -> None:
    history.events.insert(2, Event(0, "child", BEFORE, SCHEDULER))
    for number, old in enumerate(history.events, 1):
        history.events[number - 1] = replace(old, sequence=number)
    history.stream = list(history.events)


def run_what_is_done_again(history: History) -> None:
    witness(history, "child", "begin run 1, end run 1 0, begin run 2")
    row(history, "child", attempt=2)


def find_a_lock_taken(history: History) -> None:
    witness(history, "child", "overlap run 1, begin run 1, end run 1 0")


def begin_an_attempt_twice(history: History) -> None:
    witness(history, "child", "begin run 1, begin run 1, end run 1 0")


def end_an_attempt_after_the_next_has_begun(history: History) -> None:
    witness(
        history,
        "parent",
        "begin pre 1, end pre 1 0, begin run 1, begin run 2, end run 1 0, end run 2 0, begin post 1, end post 1 0",
    )


def run_without_a_grant(history: History) -> None:
    witness(history, "killed", "begin run 1, begin run 2")


def use_up_attempts(history: History) -> None:
    row(history, "child", attempt=10)


def leave_a_gap_in_the_stream(history: History) -> None:
    del history.stream[3]


def repeat_in_the_stream(history: History) -> None:
    history.stream.insert(4, history.stream[3])


def tell_something_else(history: History) -> None:
    history.stream[3] = replace(history.stream[3], states=(S.READY,))


def end_the_stream_early(history: History) -> None:
    history.stream.pop()


def lose_an_event(history: History) -> None:
    del history.events[3]


BROKEN: list[tuple[str, Callable[[History], None]]] = [
    ("acknowledged_jobs_exist", lose_a_job),
    ("no_job_came_from_nowhere", add_a_job_that_nobody_added),
    ("no_job_came_from_nowhere", never_acknowledge_a_job),
    ("acknowledged_kills_stand", finish_a_killed_job),
    ("every_job_has_ended", leave_a_job_waiting),
    ("every_job_has_ended", leave_a_lease),
    ("ends_are_what_the_story_allows", fail_a_job_for_nothing),
    ("ends_are_what_the_story_allows", kill_a_job_that_nobody_killed),
    ("ends_are_what_the_story_allows", finish_a_job_that_fails),
    ("results_have_a_run", report_a_run_that_has_not_ended),
    ("results_have_a_run", accept_the_end_of_an_older_attempt),
    ("results_have_a_run", report_another_exit_code),
    ("scripts_were_run", leave_out_a_script),
    ("one_end_of_each_attempt", accept_an_end_twice),
    ("one_end_of_each_attempt", accept_a_start_twice),
    ("accepted_writes_carry_the_newest_attempt", accept_an_old_attempt),
    ("accepted_writes_carry_the_newest_attempt", report_an_attempt_that_was_not_granted),
    ("children_wait_for_their_parents", release_a_child_too_early),
    ("what_is_done_is_not_run_again", run_what_is_done_again),
    ("no_overlaps", find_a_lock_taken),
    ("attempts_follow_each_other", begin_an_attempt_twice),
    ("attempts_follow_each_other", end_an_attempt_after_the_next_has_begun),
    ("no_run_without_a_grant", run_without_a_grant),
    ("attempts_stay_in_bounds", use_up_attempts),
    ("the_stream_has_no_gap_and_no_repeat", leave_a_gap_in_the_stream),
    ("the_stream_has_no_gap_and_no_repeat", repeat_in_the_stream),
    ("the_stream_has_no_gap_and_no_repeat", tell_something_else),
    ("the_stream_has_no_gap_and_no_repeat", end_the_stream_early),
    ("the_log_has_no_gap", lose_an_event),
]


def test_nothing_is_found_in_a_history_that_is_right() -> None:
    assert check(good()) == []


@pytest.mark.parametrize(("name", "spoil"), BROKEN, ids=[spoil.__name__ for _, spoil in BROKEN])
def test_a_rule_sees_the_history_that_breaks_it(name: str, spoil: Callable[[History], None]) -> None:
    history = good()
    spoil(history)
    assert name in {finding.rule for finding in check(history)}


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert {name for name, _ in BROKEN} == CHECKS.keys()


def test_a_result_that_came_late_is_one_more_start_of_its_attempt() -> None:
    history = good()
    history.events = [e for e in history.events if (e.job_id, e.attempt) != ("parent", 2)]
    history.events += [
        Event(0, "parent", (S.RUNNING,), LAUNCHER, 1),
        Event(0, "parent", (S.RUN_DONE,), LAUNCHER, 1, 0),
        Event(0, "parent", AFTER, SCHEDULER, 1),
    ]
    assert not list(CHECKS["one_end_of_each_attempt"][1](history))


def test_a_run_that_a_fault_hit_may_fail() -> None:
    history = good()
    row(history, "child", state=S.FAILED)
    history.faults.append(Fault("SIGKILL", "run", job_id="child"))
    assert not list(CHECKS["ends_are_what_the_story_allows"][1](history))


def test_children_of_what_has_failed_may_fail() -> None:
    history = good()
    row(history, "parent", state=S.FAILED, restarts=1)
    history.plan["parent"].max_restarts = 0
    row(history, "child", state=S.FAILED)
    assert not list(CHECKS["ends_are_what_the_story_allows"][1](history))


def test_a_user_may_have_a_finished_job_run_again() -> None:
    history = good()
    run_what_is_done_again(history)
    history.touched["child"] = "restart"
    assert check(history) == []


def test_a_result_that_was_not_accepted_counts_as_a_rerun() -> None:
    history = good()
    assert reruns(history) == 0
    witness(history, "parent", "begin run 1, end run 1 0, begin run 2, end run 2 0")
    assert reruns(history) == 1
