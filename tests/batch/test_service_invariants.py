"""What holds for every plan, whatever the policy and the work."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from balsam_scheduler.batch.answers import InVain
from balsam_scheduler.batch.nodes import NodeKind, Nodes
from balsam_scheduler.batch.packing import Packing
from balsam_scheduler.batch.planning import Plan, plan
from balsam_scheduler.batch.policy import Band, Policy, Queue
from balsam_scheduler.batch.reasons import why_never
from balsam_scheduler.batch.scene import Launch, Scene
from balsam_scheduler.batch.work import Shape, Work
from tests.batch.planning_cases import KNOWN, NOW, SPARE

STATES = ("PENDING_SUBMISSION", "QUEUED", "RUNNING", "UNKNOWN", "ENDED", "CANCELLED", "SUBMIT_FAILED")
WORKFLOWS = ("a", "b")


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    nodes = draw(st.integers(1, 9))
    serial = nodes == 1 and draw(st.booleans())
    per_node = draw(st.integers(1, 5)) if serial else 1
    cores, gpus = draw(st.sampled_from(((0, 0), (0, 0), (0, 0), (5, 0), (0, 2), (8, 1))))
    return Shape(nodes, draw(st.integers(1, 130)), per_node, serial, cores, gpus)


@st.composite
def works(draw: st.DrawFn) -> tuple[Work, ...]:
    kinds = st.tuples(shapes(), st.sampled_from(WORKFLOWS), st.sampled_from((None, None, None, 1, 2)), st.booleans())
    kind_list = draw(st.lists(kinds, max_size=6, unique=True))
    return tuple(Work(shape, draw(st.integers(1, 40)), flow, launch, waits) for shape, flow, launch, waits in kind_list)


@st.composite
def bands(draw: st.DrawFn) -> Band:
    nodes = sorted(draw(st.tuples(st.integers(1, 8), st.integers(1, 8))))
    minutes = sorted(draw(st.tuples(st.integers(3, 120), st.integers(3, 120))))
    return Band(*nodes, *minutes)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    queues = tuple(
        Queue(
            name=name,
            job_mode=draw(st.sampled_from(("auto", "auto", "mpi", "serial"))),
            wf_filter=draw(st.sampled_from(("", "", "a"))),
            max_launches=draw(st.sampled_from((4, 4, 1, 0))),
            max_nodes=draw(st.sampled_from((0, 0, 3, 8))),
            cores_per_node=draw(st.sampled_from((0, 0, 4))),
            gpus_per_node=draw(st.sampled_from((-1, -1, 0, 1))),
            bands=tuple(draw(st.lists(bands(), min_size=1, max_size=2))),
        )
        for name in ("x", "y")[: draw(st.sampled_from((2, 1, 2, 0)))]
    )
    return Policy(
        max_launches=draw(st.sampled_from((6, 6, 2, 0))),
        node_hours_per_day=draw(st.sampled_from((0.0, 0.0, 10.0, 40.0))),
        node_hours_total=draw(st.sampled_from((0.0, 0.0, 0.0, 30.0))),
        children_share=draw(st.sampled_from((0.0, 0.5, 1.0))),
        queues=queues,
    )


@st.composite
def launches(draw: st.DrawFn) -> tuple[Launch, ...]:
    return tuple(
        Launch(
            launch_id=number,
            queue=draw(st.sampled_from(("x", "y", "z"))),
            nodes=draw(st.integers(1, 6)),
            wall_minutes=draw(st.integers(5, 90)),
            state=draw(st.sampled_from(STATES)),
            create_time=NOW - draw(st.integers(0, 200_000)),
            job_mode=draw(st.sampled_from(("auto", "serial"))),
            prescheduled_only=draw(st.booleans()),
            start_time=draw(st.sampled_from((None, NOW - 1200.0))),
            kinds=draw(st.sampled_from(((), (), (NodeKind(6, 4, 0),)))),
            in_vain=draw(st.sampled_from((None, None, None, InVain("nodes"), InVain("minutes"), InVain()))),
        )
        for number in range(1, draw(st.sampled_from((0, 0, 1, 3))) + 1)
    )


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    return Scene(now=NOW, spare_minutes=SPARE, work=draw(works()), launches=draw(launches()), memory=KNOWN)


def as_launches(found: Plan, first_id: int = 100) -> tuple[Launch, ...]:
    """The launches of a plan as they are recorded when they have been submitted."""
    return tuple(
        Launch(
            launch_id=first_id + number,
            queue=one.queue.name,
            nodes=one.nodes,
            wall_minutes=one.minutes,
            state="QUEUED",
            create_time=NOW,
            job_mode=one.queue.job_mode,
            wf_filter=one.queue.wf_filter,
        )
        for number, one in enumerate(found.launches)
    )


@given(policies(), scenes())
def test_never_more_than_the_policy_allows(policy: Policy, scene: Scene) -> None:
    found = plan(policy, scene)
    before = [launch for launch in scene.launches if launch.open]
    after = [*before, *as_launches(found)]
    assert not found.launches or len(after) <= policy.max_launches
    for queue in policy.queues:
        mine = [one for one in found.launches if one.queue is queue]
        there = [launch for launch in after if launch.queue == queue.name]
        assert not mine or len(there) <= queue.max_launches
        assert not mine or not queue.max_nodes or sum(launch.nodes for launch in there) <= queue.max_nodes
        for one in mine:
            assert any(
                band.min_nodes <= one.nodes <= band.max_nodes and band.min_minutes <= one.minutes <= band.max_minutes
                for band in queue.bands
            )
    asked = [launch for launch in (*scene.launches, *as_launches(found)) if launch.state != "SUBMIT_FAILED"]
    today = [launch for launch in asked if launch.create_time > NOW - 24 * 3600]
    for limit, those in ((policy.node_hours_per_day, today), (policy.node_hours_total, asked)):
        assert not found.launches or not limit or sum(launch.node_minutes for launch in those) <= 60 * limit


@given(policies(), scenes())
def test_each_waiting_job_has_a_launch_or_a_reason_why_not(policy: Policy, scene: Scene) -> None:
    found = plan(policy, scene)
    jobs = sum(one.jobs for one in found.launches) + sum(verdict.jobs for verdict in found.verdicts)
    assert jobs == sum(work.count for work in scene.work)
    assert all(verdict.why and verdict.jobs > 0 for verdict in found.verdicts)
    assert all(one.jobs > 0 and one.why for one in found.launches)


@given(policies(), scenes())
def test_nothing_is_submitted_twice_for_the_same_work(policy: Policy, scene: Scene) -> None:
    """With the launches of a plan queued, the next plan has none: what they are for is covered by them."""
    first = plan(policy, scene)
    second = plan(policy, replace(scene, launches=(*scene.launches, *as_launches(first)), memory=first.memory))
    assert second.launches == ()


@given(shapes(), st.integers(1, 300), st.integers(0, 59))
@settings(deadline=None)
def test_nothing_is_submitted_for_what_runs_next_while_the_first_row_runs(shape: Shape, count: int, late: int) -> None:
    """Time goes by, and the jobs that run take as long as they may: what waits behind them has its launch still."""
    rules = Policy(max_launches=400, queues=(Queue(name="x", max_launches=400, bands=(Band(1, 9, 10, 300),)),))
    first = plan(rules, Scene(now=NOW, spare_minutes=SPARE, work=(Work(shape, count),), memory=KNOWN))
    rows = [min(one.jobs, one.nodes // shape.nodes * shape.per_node) for one in first.launches]
    launches = tuple(
        replace(launch, state="RUNNING", start_time=NOW, holds=row)
        for launch, row in zip(as_launches(first), rows, strict=True)
    )
    running, waiting = (Work(shape, sum(rows)),), (Work(shape, count - sum(rows)),) if count > sum(rows) else ()
    for seconds in (*range(late, 60 * shape.minutes, 4 * shape.minutes + 1), 60 * shape.minutes + late):
        then = Scene(NOW + seconds, SPARE, waiting, running, launches, memory=first.memory)
        assert plan(rules, then).launches == (), seconds


@given(policies(), scenes(), st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_what_it_is_told(
    policy: Policy, scene: Scene, chance: random.Random
) -> None:
    works, launches = list(scene.work), list(scene.launches)
    chance.shuffle(works)
    chance.shuffle(launches)
    assert plan(policy, replace(scene, work=tuple(works), launches=tuple(launches))) == plan(policy, scene)


@given(policies(), scenes())
def test_nothing_smaller_is_submitted_where_a_larger_job_waits_for_what_is_in_use(policy: Policy, scene: Scene) -> None:
    found = plan(policy, scene)
    for verdict in found.verdicts:
        held = verdict.work
        if verdict.covered or verdict.never or held.waits or held.launch is not None:
            continue
        if "waits in vain" in verdict.why:
            continue  # what does not pass by itself is waited for by nobody
        for one in found.launches:
            only = replace(policy, queues=(one.queue,))
            nodes = Nodes(reports=tuple(found.memory.reports.values()))
            could_never = why_never(only, held.shape, held.workflow, SPARE, nodes)
            assert could_never or one.largest.order <= held.order, (held, one)


@given(st.integers(1, 8), st.integers(1, 60), st.lists(st.tuples(shapes(), st.integers(1, 60)), max_size=8))
@settings(max_examples=300)
def test_what_is_packed_fits(nodes: int, minutes: int, wanted: list[tuple[Shape, int]]) -> None:
    """No more node-minutes than there are, nothing that is too large, and one at least of what fits alone."""
    packing = Packing(nodes, minutes)
    area = 0.0
    for number, (shape, count) in enumerate(wanted):
        placed = packing.put(shape, count)
        assert 0 <= placed <= count
        assert not placed or (shape.nodes <= nodes and shape.minutes <= minutes)
        assert number or placed or not packing.holds(shape)
        area += float(shape.width("auto")) * shape.minutes * placed
    assert area <= nodes * minutes + 1e-9


@given(shapes(), st.integers(1, 500))
def test_packing_is_exact_for_jobs_that_are_alike(shape: Shape, count: int) -> None:
    packing = Packing(6, 100)
    most = (6 // shape.nodes) * shape.per_node * (100 // shape.minutes)
    assert packing.put(shape, count) == min(count, most)
    assert packing.put(shape, 10_000) == max(0, most - count)
