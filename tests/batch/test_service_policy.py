"""The policy file, what work is, and what the automatic submitter remembers."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.errors import SiteError
from balsam.site import Site
from balsam_cli.main import main
from balsam_cli.takers import need_of
from balsam_scheduler.batch import remembering
from balsam_scheduler.batch.nodes import NodeKind, Report
from balsam_scheduler.batch.observing import launch_of, spare_minutes
from balsam_scheduler.batch.planning import plan
from balsam_scheduler.batch.policy import POLICY_FILE, Band, Policy, Queue, check, load, render, settings_of
from balsam_scheduler.batch.reasons import why_never
from balsam_scheduler.batch.scene import Launch, Memory, Scene
from balsam_scheduler.batch.work import Shape, Work, group_fields, shape_of, work_of
from scripts.check_imports import ROOT

PAGE = (ROOT / "docs" / "service.md").read_text()


def uncommented(text: str) -> str:
    """A policy file with the queue of its end."""
    head, queue = text.split("# [[queue]]\n")
    return head + "[[queue]]\n" + re.sub(r"^# ?", "", queue, flags=re.MULTILINE)


# The file


def test_init_writes_a_policy_of_defaults_that_submits_nothing(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "s")]) == 0
    assert load(tmp_path / "s") == Policy()


def test_a_site_may_have_none(tmp_path: Path) -> None:
    assert load(tmp_path) is None


def test_the_queue_in_the_comment_is_one_of_defaults() -> None:
    assert check(tomllib.loads(uncommented(render())), "x") == Policy(queues=(Queue(bands=(Band(),)),))


def test_queues_and_bands_are_read_in_order() -> None:
    text = """
        max_launches = 5
        node_hours_per_day = 100
        [[queue]]
        name = "debug"
        [[queue.band]]
        max_nodes = 2
        [[queue]]
        name = "prod"
        [[queue.band]]
        [[queue.band]]
        min_nodes = 128
        max_nodes = 256
    """
    found = check(tomllib.loads(text), "x")
    assert (found.max_launches, found.node_hours_per_day) == (5, 100.0)
    assert [(queue.name, len(queue.bands)) for queue in found.queues] == [("debug", 1), ("prod", 2)]
    assert found.queues[1].bands[1] == Band(min_nodes=128, max_nodes=256)


BAND = "[[queue]]\n[[queue.band]]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_launch = 1", "x: unknown setting 'max_launch'; did you mean 'max_launches'?"),
        ("queues = []", "x: unknown setting 'queues'; did you mean"),
        ("max_launches = '2'", "x: max_launches = '2' must be a whole number"),
        ("node_hours_total = inf", "x: node_hours_total = inf must be a finite number, for example 0.0"),
        ("node_hours_per_day = nan", "x: node_hours_per_day = nan must be a finite number"),
        ("node_hours_per_day = 1e300", "x: node_hours_per_day = 1e+300 must be at most 1000000000000"),
        ("node_hours_total = -1", "x: node_hours_total = -1.0 must be at least 0"),
        ("least_work_wait_minutes = inf", "x: least_work_wait_minutes = inf must be a finite number"),
        ("least_work_wait_minutes = 1e15", "x: least_work_wait_minutes = 1000000000000000.0 must be at most"),
        ("breaker_minutes = -inf", "x: breaker_minutes = -inf must be a finite number"),
        ("interval_seconds = 1e10", "x: interval_seconds = 10000000000.0 must be at most 86400"),
        (f"{BAND}max_minutes = {10**20}", f"x, [[queue]] 1, band 1: max_minutes = {10**20} must be at most"),
        ('[[queue]]\nwf_filter = "a\\nb"\n[[queue.band]]', "x, [[queue]] 1: wf_filter = 'a\\nb': holds a control"),
        ("children_share = 1.5", "x: children_share = 1.5 must be at most 1"),
        ("queue = 3", "x: queue must be tables, each under a line [[queue]]"),
        ("[[queue]]\nname = 'a'", "x, [[queue]] 1: has no [[queue.band]]"),
        (f"{BAND}max_node = 4", "x, [[queue]] 1, band 1: unknown setting 'max_node'; did you mean 'max_nodes'?"),
        (f"{BAND}min_nodes = 4", "x, [[queue]] 1, band 1: min_nodes = 4 is more than max_nodes = 1"),
        (f"{BAND}min_minutes = 90", "x, [[queue]] 1, band 1: min_minutes = 90 is more than max_minutes = 60"),
        ("[[queue]]\njob_mode = 'x'\n[[queue.band]]", "x, [[queue]] 1: job_mode = 'x' must be one of auto, mpi"),
        ("[[queue]]\nname = 'a b'\n[[queue.band]]", "x, [[queue]] 1: name = 'a b': must hold no blanks"),
        ('[[queue]]\nproject = "a\\n"\n[[queue.band]]', "x, [[queue]] 1: project = 'a\\n': must hold no blanks"),
        ('[[queue]]\nsched_flags = "-U \'x"\n[[queue.band]]', 'x, [[queue]] 1: "-U \'x" does not split into words'),
        (BAND * 2, "x: [[queue]] name = '' is there 2 times; join them"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    with pytest.raises(SiteError) as raised:
        check(tomllib.loads(text), "x")
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize("table", [Policy, Band])
def test_the_largest_values_that_are_allowed_make_a_plan(table: type[object]) -> None:
    """No sum or time of day of them is too large for what computes with it."""
    most = {field.name: field.metadata["most"] for field in settings_of(table) if field.metadata["most"] is not None}
    values = {name: min(value, 1.0) if name == "children_share" else value for name, value in most.items()}
    least = {"least_node_minutes": 1e300} if table is Policy else {}
    band = values if table is Band else {}
    policy = check((values if table is Policy else {}) | least | {"queue": [{"band": [band]}]}, "x")
    failures = dict.fromkeys(range(1, 60), 1.7e9)
    launches = tuple(Launch(number, "", 1, 1, "SUBMIT_FAILED", 1.7e9) for number in failures)
    for memory in (Memory(), Memory(failed=failures)):
        plan(policy, Scene(now=1.7e9, spare_minutes=2, work=(Work(Shape(1, 1), 9),), launches=launches, memory=memory))


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / POLICY_FILE).write_text("max_launches = ")
    with pytest.raises(SiteError, match=r"policy\.toml is not valid TOML"):
        load(tmp_path)


@pytest.mark.parametrize("table", [Policy, Queue, Band])
def test_every_key_is_documented_with_its_default(table: type[object]) -> None:
    for field in settings_of(table):
        default = f'"{field.default}"' if isinstance(field.default, str) else f"{field.default:g}"
        assert re.search(rf"^\| `{field.name}` \| `{re.escape(default)}` \|", PAGE, re.MULTILINE), field.name


def test_the_example_of_the_documentation_does_what_it_says() -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    policy = check(tomllib.loads(example), "x")

    def launches(count: int, shape: Shape) -> list[tuple[str, int, int]]:
        found = plan(policy, Scene(now=0.0, spare_minutes=spare_minutes(60), work=(Work(shape, count),)))
        return [(one.queue.name, one.nodes, one.minutes) for one in found.launches]

    assert launches(100, Shape(1, 20)) == [("default", 50, 60)]
    assert launches(1, Shape(4, 50, 1, False)) == [("debug", 4, 52)]
    assert launches(1, Shape(200, 400, 1, False)) == []
    assert "lasts at most 360" in why_never(policy, Shape(200, 400, 1, False), "", spare_minutes(60))


# Work


@pytest.mark.parametrize(
    ("job", "shape"),
    [
        ({}, Shape(1, 1)),
        ({"node_packing_count": 8, "wall_time_minutes": 5}, Shape(1, 5, 8)),
        ({"ranks_per_node": 2, "node_packing_count": 8}, Shape(1, 1, 1, False)),
        ({"num_nodes": 2}, Shape(2, 1, 1, False)),
        ({"coschedule_num_nodes": 3, "node_packing_count": 8}, Shape(4, 1)),
        ({"wall_time_minutes": 0}, Shape(1, 1)),
        ({"cpu_affinity": "depth", "threads_per_rank": 5, "threads_per_core": 2}, Shape(1, 1, cores=3)),
        ({"gpus_per_rank": 0.5, "ranks_per_node": 3}, Shape(1, 1, 1, False, gpus=2)),
    ],
)
def test_what_a_job_asks_of_a_launch(job: dict[str, int], shape: Shape) -> None:
    assert shape_of(job) == shape


@given(
    ranks=st.integers(1, 9),
    threads=st.integers(1, 9),
    each=st.integers(1, 4),
    gpus=st.sampled_from((0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 1.0, 1.5, 3.0)),
)
def test_cores_and_gpus_are_counted_as_launchers_count_them(ranks: int, threads: int, each: int, gpus: float) -> None:
    job = {
        "ranks_per_node": ranks,
        "cpu_affinity": "depth",
        "threads_per_rank": threads,
        "threads_per_core": each,
        "gpus_per_rank": gpus,
    }
    need, shape = need_of(job), shape_of(job)
    assert (shape.cores, shape.gpus) == (need.cores, need.gpus)


def test_a_job_takes_as_long_as_launchers_expect_of_its_application_and_never_longer_than_it_says() -> None:
    job = {"application": "simulate", "wall_time_minutes": 60}
    assert shape_of(job, {"simulate": 7, "analyse": 3}) == Shape(1, 7)
    assert shape_of(job, {"simulate": 90}) == shape_of(job, {"analyse": 3}) == Shape(1, 60)
    assert shape_of(job, {"simulate": 0}) == Shape(1, 1)
    fields = group_fields(applications=True)
    groups = [(("CREATED", 1, 0, 1, 1, minutes, None, "none", 1, 1, 0.0, "simulate"), 2) for minutes in (60, 90)]
    assert work_of(groups, fields, {"simulate": 7}) == (Work(Shape(1, 7), 4),)


def test_groups_of_one_shape_are_one_kind_of_work_and_the_largest_comes_first() -> None:
    rest = ("none", 1, 1, 0.0)
    groups = [
        (("CREATED", 1, 0, 1, 1, 5, None, *rest, "a"), 2),
        (("RESTART_READY", 1, 0, 1, 1, 5, None, *rest, "b"), 3),
        (("AWAITING_PARENTS", 1, 0, 1, 1, 5, None, *rest, "a"), 4),
        (("READY", 2, 0, 1, 1, 5, 7, *rest, "a"), 1),
    ]
    large = Work(Shape(2, 5, 1, False), 1, launch=7)
    plain = [(values[:-1], count) for values, count in groups]
    assert work_of(plain) == (large, Work(Shape(1, 5), 5), Work(Shape(1, 5), 4, waits=True))
    assert [one.workflow for one in work_of(groups, group_fields(workflows=True))] == ["a", "a", "a", "b"]


def test_minutes_in_which_no_job_starts() -> None:
    assert [spare_minutes(seconds) for seconds in (0, 30, 60, 90)] == [1, 2, 2, 3]


def test_a_launch_of_absent_values_has_the_defaults() -> None:
    import datetime

    made = datetime.datetime.fromtimestamp(5, datetime.UTC)
    launch = launch_of({"launch_id": 3, "create_time": made}, {3: 9.0})
    assert (launch.nodes, launch.wall_minutes, launch.state, launch.start_time) == (1, 60, "PENDING_SUBMISSION", 9.0)
    assert launch.create_time == 5.0


# Memory


def test_what_is_remembered_is_read_again(site: Site) -> None:
    site.make_run()
    memory = Memory(
        5,
        (1, 2),
        {3: 4.5},
        {"s": 1.0},
        7.0,
        {"nodes": 1, "request_id": "x"},
        {4: Report("debug", "-C gpu", (NodeKind(2, 8, 0), NodeKind(1, 8, 4)))},
        {5: 6.5},
    )
    remembering.save(site, memory)
    assert remembering.load(site) == memory


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sequence": "x"}', '{"sequence": 1, "fruitful": 3}'])
def test_of_a_damaged_file_nothing_is_remembered(site: Site, text: str) -> None:
    site.make_run()
    remembering.memory_file(site).write_text(text)
    assert remembering.load(site) == Memory()
