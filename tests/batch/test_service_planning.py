"""What the automatic submitter finds right to submit, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from balsam_scheduler.batch.planning import plan
from balsam_scheduler.batch.policy import Band, Policy
from balsam_scheduler.batch.reasons import WAITS, why_never
from balsam_scheduler.batch.scene import Launcher, Memory
from balsam_scheduler.batch.work import Shape, Work
from tests.batch.planning_cases import NOW, SPARE, launch, planned, policy, queue, reasons, scene, sizes, work


def test_nothing_is_submitted_for_nothing() -> None:
    found = plan(policy(), scene())
    assert (found.launches, found.verdicts) == ((), ())


def test_one_job_gets_the_smallest_launch() -> None:
    assert planned(policy(), work(1)) == [(1, 30)]


def test_a_launch_is_as_short_as_its_band_allows_with_the_nodes_that_are_kept_busy_so_long() -> None:
    # In 30 minutes, less 2, a node runs two of them.
    assert planned(policy(), work(6)) == [(3, 30)]
    assert planned(policy(), work(8)) == [(4, 30)]


def test_work_that_does_not_finish_so_gets_all_nodes_and_more_time() -> None:
    assert planned(policy(), work(16)) == [(4, 42)]


def test_more_work_than_a_launch_holds_gets_several_and_no_more_than_it_takes() -> None:
    found = plan(policy(), scene(work(50)))
    assert [(one.nodes, one.minutes, one.jobs) for one in found.launches] == [(4, 60, 20), (4, 60, 20), (4, 32, 10)]
    assert found.verdicts == ()


def test_serial_jobs_share_nodes() -> None:
    assert planned(policy(), work(64, per_node=32)) == [(1, 30)]
    assert planned(policy(queue(job_mode="mpi")), work(4, per_node=32)) == [(2, 30)]


def test_the_largest_job_must_fit_and_the_others_fill_its_launch() -> None:
    found = plan(policy(), scene(work(2), work(1, 3, 50)))
    assert [(one.nodes, one.minutes, one.jobs) for one in found.launches] == [(4, 52, 3)]


def test_reserved_nodes_count() -> None:
    assert planned(policy(), work(1, 3)) == [(3, 30)]


def test_the_queue_whose_launch_does_most_of_the_work_is_taken_and_of_equals_the_first() -> None:
    debug, large = queue("debug", Band(1, 2, 5, 30)), queue("large", Band(1, 64, 30, 120))
    found = plan(policy(debug, large), scene(work(100, minutes=20)))
    assert [one.queue.name for one in found.launches] == ["large"]
    found = plan(policy(debug, large), scene(work(2, minutes=20)))
    assert [one.queue.name for one in found.launches] == ["debug"]


def test_of_two_bands_that_do_the_work_the_cheaper_is_taken() -> None:
    bands = (Band(4, 8, 60, 120), Band(1, 3, 20, 60))
    assert planned(policy(queue("batch", *bands)), work(1)) == [(1, 20)]
    assert planned(policy(queue("batch", *bands)), work(1, 4)) == [(4, 60)]


# Never twice


def test_what_an_open_launch_has_room_for_is_covered() -> None:
    for state in ("PENDING_SUBMISSION", "QUEUED", "RUNNING", "UNKNOWN"):
        found = plan(policy(), scene(work(5), launches=(launch(1, state=state),)))
        assert found.launches == ()
        (verdict,) = found.verdicts
        assert (verdict.jobs, verdict.covered, verdict.why) == (5, True, f"launch 1 ({state}) has room")


@pytest.mark.parametrize("state", ["ENDED", "CANCELLED", "SUBMIT_FAILED"])
def test_a_launch_that_is_over_covers_nothing(state: str) -> None:
    assert planned(policy(), work(1), launches=(launch(1, state=state),)) == [(1, 30)]


def test_only_what_exceeds_the_open_launches_is_submitted_for() -> None:
    found = plan(policy(), scene(work(12), launches=(launch(1),)))
    assert [one.jobs for one in found.launches] == [7]


def test_the_time_that_has_gone_counts() -> None:
    running = launch(1, minutes=60, state="RUNNING", start_time=NOW - 45 * 60)
    assert [one.jobs for one in plan(policy(), scene(work(3), launches=(running,))).launches] == [2]
    over = launch(1, minutes=60, state="RUNNING", start_time=NOW - 70 * 60)
    assert [one.jobs for one in plan(policy(), scene(work(3), launches=(over,))).launches] == [3]


def test_what_runs_takes_room_in_the_launch_that_runs() -> None:
    running = launch(1, nodes=2, state="RUNNING", start_time=NOW)
    busy = plan(policy(), scene(work(10), launches=(running,), running=(work(2, minutes=50),)))
    assert [one.jobs for one in busy.launches] == [10]
    assert planned(policy(), work(10), launches=(running,), running=(work(1, minutes=50),)) == [(3, 30)]


def test_what_runs_takes_room_only_where_it_may_run_and_no_more_of_it_than_a_launch_holds() -> None:
    def submitted(busy: Work, **rest: Any) -> bool:
        running = launch(1, state="RUNNING", start_time=NOW, **rest)
        return bool(planned(policy(), work(1, minutes=20), launches=(running,), running=(busy,)))

    assert submitted(work(1, minutes=50))
    assert not submitted(work(1, minutes=50), holds=0)
    assert not submitted(work(1, minutes=50, launch=2))


def test_filters_modes_and_bound_launches_cover_only_what_they_take() -> None:
    mpi = work(1, 2)
    assert planned(policy(), mpi, launches=(launch(1, nodes=2, job_mode="serial"),)) == [(2, 30)]
    assert planned(policy(), work(1, workflow="a"), launches=(launch(1, wf_filter="b*"),)) == [(1, 30)]
    assert planned(policy(), work(1, workflow="b1"), launches=(launch(1, wf_filter="b*"),)) == []
    assert planned(policy(), work(1), launches=(launch(1, prescheduled_only=True),)) == [(1, 30)]
    assert planned(policy(), work(1), launches=(launch(1, from_balsam=False),)) == [(1, 30)]


def test_bound_jobs_are_their_launchs_and_nothing_else_is_submitted_for_them() -> None:
    found = plan(policy(), scene(work(1, launch=1), work(1, 2, launch=1), launches=(launch(1),)))
    assert found.launches == ()
    assert [(one.work.shape.nodes, one.covered) for one in found.verdicts] == [(1, True), (2, False)]
    assert reasons(found) == ["bound to launch 1, which has no room (1 node, 60 minutes left)"]


def test_bound_jobs_come_first_in_their_launch() -> None:
    found = plan(policy(), scene(work(5, minutes=11), work(5, launch=1), launches=(launch(1),)))
    assert [one.jobs for one in found.launches] == [5]


# Limits


def test_there_are_never_more_launches_than_allowed_whoever_submitted_them() -> None:
    mine = (launch(1), launch(2, queue="other", from_balsam=False))
    found = plan(policy(max_launches=3), scene(work(100), launches=mine))
    assert len(found.launches) == 1
    assert reasons(found) == ["3 launches are open, and the policy allows 3 (max_launches)"]


def test_a_queue_has_limits_of_its_own() -> None:
    found = plan(policy(queue(max_launches=1)), scene(work(100)))
    assert sizes(found) == [(4, 60)]
    assert reasons(found) == ["queue batch: 1 launch is open, and it may have 1 (max_launches)"]


def test_the_nodes_of_a_queue_are_limited() -> None:
    found = plan(policy(queue(max_nodes=6)), scene(work(100)))
    assert sizes(found) == [(4, 60), (2, 60)]
    assert reasons(found) == ["queue batch: 6 of 6 nodes are in use (max_nodes)"]


def test_node_hours_of_a_day_are_those_asked_for_in_the_last_24_hours() -> None:
    rules = policy(node_hours_per_day=6.0)
    found = plan(rules, scene(work(100)))
    assert sizes(found) == [(4, 60), (4, 30)]
    assert reasons(found) == ["6 of 6 node-hours were asked for within 24 hours (node_hours_per_day)"]
    ended = launch(1, nodes=4, state="ENDED")
    assert planned(rules, work(100), launches=(ended,)) == [(4, 30)]
    old = launch(1, nodes=4, state="ENDED", create_time=NOW - 25 * 3600)
    assert planned(rules, work(100), launches=(old,)) == [(4, 60), (4, 30)]
    for refused in (launch(1, nodes=4, state="SUBMIT_FAILED"), launch(1, nodes=4, state="CANCELLED", accepted=False)):
        assert planned(rules, work(100), launches=(refused,)) == [(4, 60), (4, 30)]


def test_the_total_of_node_hours_is_final() -> None:
    old = launch(1, nodes=4, state="ENDED", create_time=NOW - 90 * 24 * 3600)
    found = plan(policy(node_hours_total=4.0), scene(work(1), launches=(old,)))
    assert found.launches == ()
    assert (reasons(found), found.verdicts[0].never) == (["4 of 4 node-hours were asked for (node_hours_total)"], True)


def test_a_large_job_is_not_starved_by_small_ones_that_take_what_becomes_free() -> None:
    rules = policy(queue(max_nodes=4))
    found = plan(rules, scene(work(1, 3), work(50), launches=(launch(1, nodes=2, minutes=12),)))
    assert found.launches == ()
    assert reasons(found) == [
        "queue batch: 2 of 4 nodes are in use (max_nodes)",
        "jobs of 3 nodes for 10 minutes come first",
    ]


def test_small_jobs_go_on_in_queues_that_could_never_hold_the_large_one() -> None:
    rules = policy(queue("large", Band(3, 4, 30, 60), max_launches=1), queue("small", Band(1, 1, 30, 60)))
    found = plan(rules, scene(work(2, 4, 58), work(2), launches=(launch(1, nodes=3, minutes=5, queue="large"),)))
    assert [(one.queue.name, one.jobs) for one in found.launches] == [("small", 2)]


def test_a_large_job_that_waits_for_node_hours_is_not_starved_through_other_queues() -> None:
    rules = policy(queue("large", Band(3, 4, 30, 60)), queue("small", Band(1, 1, 30, 60)), node_hours_per_day=2.0)
    used = launch(1, state="ENDED", queue="small")
    found = plan(rules, scene(work(1, 4), work(2), launches=(used,)))
    assert found.launches == ()
    assert reasons(found)[1] == "jobs of 4 nodes for 10 minutes come first"


@pytest.mark.parametrize(
    ("shape", "workflow", "why"),
    [
        (Shape(1, 58), "w", ""),
        (Shape(5, 1, 1, False), "w", "needs 5 nodes, and the largest launch of the policy has 4"),
        (Shape(1, 59), "w", "may take 59 minutes, and a launch of so many nodes lasts at most 60, of which 2 are for"),
        (Shape(1, 1), "x", "is of workflow 'x', which no queue of the policy takes"),
    ],
)
def test_a_job_that_can_never_have_a_launch_is_told_so(shape: Shape, workflow: str, why: str) -> None:
    said = why_never(policy(queue(wf_filter="w*")), shape, workflow, SPARE)
    assert said.startswith(why)
    assert bool(said) is bool(why)


def test_never_is_also_said_of_modes_and_of_limits_that_no_end_of_a_launch_frees() -> None:
    assert why_never(policy(queue(job_mode="serial")), Shape(1, 1, 1, False), "", SPARE).startswith("is an MPI job")
    assert "max_nodes" in why_never(policy(queue(max_nodes=2)), Shape(3, 1, 1, False), "", SPARE)
    assert "node-hours" in why_never(policy(node_hours_per_day=1.0), Shape(4, 20, 1, False), "", SPARE)


def test_a_job_that_never_fits_holds_nobody_back() -> None:
    found = plan(policy(), scene(work(1, 9), work(1)))
    assert sizes(found) == [(1, 30)]
    assert [(one.jobs, one.never) for one in found.verdicts] == [(1, True)]


# What waits, and what is small


def test_children_get_no_launch_but_room_in_one() -> None:
    found = plan(policy(), scene(work(40, waits=True)))
    assert (found.launches, reasons(found)) == ((), [WAITS])
    assert planned(policy(children_share=0.0), work(2), work(6, waits=True)) == [(1, 30)]
    found = plan(policy(children_share=1.0), scene(work(2), work(6, waits=True)))
    assert (sizes(found), found.launches[0].jobs, reasons(found)) == ([(4, 30)], 2, [WAITS])


def test_little_work_waits_for_more_but_not_for_ever() -> None:
    rules = policy(least_node_minutes=100.0, least_work_wait_minutes=30.0)
    first = plan(rules, scene(work(9)))
    assert first.launches == ()
    assert reasons(first) == ["a launch begins at 100 node-minutes of work (least_node_minutes), or at 02:16 UTC"]
    assert first.memory.small_since == NOW
    assert planned(rules, work(10)) == [(4, 32)]
    later = plan(rules, scene(work(9), memory=first.memory, now=NOW + 30 * 60))
    assert len(later.launches) == 1
    assert later.memory.small_since is None


def test_an_idle_launcher_is_left_what_it_could_take_for_a_while() -> None:
    idle = Launcher("s1", "host:17", nodes=1)
    found = plan(policy(idle_minutes=5.0), scene(work(4), work(1, 2), launchers=(idle,)))
    assert sizes(found) == [(2, 30)]
    assert [(one.jobs, one.why) for one in found.verdicts] == [(4, "launcher host:17 is idle and could take it")]
    later = plan(policy(), scene(work(4), launchers=(idle,), memory=found.memory, now=NOW + 300))
    assert len(later.launches) == 1


@pytest.mark.parametrize(
    "launcher",
    [
        Launcher("s", "h:1", nodes=1, holds=1),
        Launcher("s", "h:1", nodes=1, job_mode="serial", wf_filter="other"),
        Launcher("s", "h:1", nodes=0),
    ],
)
def test_launchers_that_are_busy_or_do_not_take_it_do_not_count(launcher: Launcher) -> None:
    assert len(plan(policy(), scene(work(1), launchers=(launcher,))).launches) == 1


# Failures


def failed(*launch_ids: int, ago_minutes: float = 1.0) -> Memory:
    return Memory(sequence=1, failed=dict.fromkeys(launch_ids, NOW - 60 * ago_minutes))


def failures(*launch_ids: int, **rest: object) -> tuple[object, ...]:
    return tuple(launch(one, state="SUBMIT_FAILED", message="no such queue", **rest) for one in launch_ids)


def test_after_failures_in_a_row_a_queue_is_left_alone() -> None:
    rules = policy(breaker_failures=3, breaker_minutes=10.0)
    assert planned(rules, work(1), launches=failures(1, 2)) == [(1, 30)]
    found = plan(rules, scene(work(1), launches=failures(1, 2, 3)))
    assert found.launches == ()
    assert reasons(found) == ["queue batch: 3 launches in a row failed (no such queue); the next is tried at 01:55 UTC"]


def test_each_further_failure_doubles_the_time() -> None:
    def tried_after(*launch_ids: int) -> float:
        rules = policy(breaker_failures=3, breaker_minutes=10.0)
        found = plan(rules, scene(work(1), launches=failures(*launch_ids), memory=failed(*launch_ids)))
        return (found.breakers["batch"].until - (NOW - 60)) / 60

    assert [tried_after(*range(1, number + 1)) for number in (3, 4, 5)] == [10, 20, 40]
    assert tried_after(*range(1, 40)) == 24 * 60


def test_then_one_is_tried_and_no_second_before_it_has_shown_what_it_is() -> None:
    rules, memory = policy(), failed(1, 2, 3, ago_minutes=11)
    assert planned(rules, work(100), launches=failures(1, 2, 3), memory=memory) == [(4, 60)]
    found = plan(rules, scene(work(100), launches=(*failures(1, 2, 3), launch(4)), memory=memory))
    assert found.launches == ()
    assert reasons(found)[0].endswith("one at a time until one succeeds")


def test_a_launch_that_ran_something_ends_the_row_and_one_that_was_cancelled_does_not_count() -> None:
    ran = launch(4, state="ENDED")
    assert planned(policy(), work(1), launches=(*failures(1, 2, 3), ran)) == [(1, 30)]
    cancelled = launch(4, state="CANCELLED")
    assert planned(policy(), work(1), launches=(*failures(1, 2, 3), cancelled)) == []


def test_other_queues_go_on() -> None:
    rules = policy(queue("broken"), queue("good"))
    found = plan(rules, scene(work(1), launches=failures(1, 2, 3, queue="broken")))
    assert [one.queue.name for one in found.launches] == ["good"]


def test_launches_that_end_without_any_run_since_their_record_have_failed() -> None:
    ended = tuple(launch(one, state="ENDED") for one in (1, 2, 3))
    found = plan(policy(), scene(work(1), launches=ended, has_run=False))
    assert found.launches == ()
    assert dict(found.memory.failed) == dict.fromkeys((1, 2, 3), NOW)
    assert "3 launches in a row failed (it ended without having run anything)" in reasons(found)[0]
    # They stay failures when others run something later.
    later = scene(work(1), launches=ended, has_run=True, memory=found.memory, now=NOW + 9)
    assert plan(policy(), later).launches == ()


def test_a_launch_whose_launcher_came_up_has_not_failed_if_anything_ran_meanwhile() -> None:
    up = tuple(launch(one, state="RUNNING", start_time=NOW) for one in (1, 2, 3))
    seen = plan(policy(), scene(work(1), launches=up, has_run=True))
    killed = tuple(launch(one, state="ENDED", message="NODE_FAIL") for one in (1, 2, 3))
    later = plan(policy(), scene(work(1), launches=killed, has_run=False, memory=seen.memory))
    assert (len(later.launches), dict(later.memory.failed)) == (1, {})
    # All of it may have happened since the last round; a launcher that ends by itself leaves no message.
    ended = tuple(launch(one, state="ENDED") for one in (1, 2, 3))
    assert dict(plan(policy(), scene(work(1), launches=ended, has_run=True)).memory.failed) == {}


def test_what_others_run_does_not_hide_launches_that_never_came_up() -> None:
    broken = tuple(launch(one, state="ENDED", message="no such module") for one in (1, 2, 3))
    assert planned(policy(), work(1), launches=broken, has_run=True) == []


def test_in_its_first_round_it_judges_nobody_but_those_that_were_refused() -> None:
    ended = tuple(launch(one, state="ENDED", message="TIMEOUT") for one in (1, 2, 3))
    first = plan(policy(), scene(work(1), launches=ended, has_run=None))
    assert len(first.launches) == 1
    assert planned(policy(), work(1), launches=ended, has_run=False, memory=first.memory) == [(1, 30)]


def test_a_policy_without_queues_submits_nothing() -> None:
    found = plan(Policy(), scene(work(1)))
    assert (found.launches, found.verdicts[0].never) == ((), True)
