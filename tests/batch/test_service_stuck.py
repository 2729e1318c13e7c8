"""Launches that wait in the batch system for what does not come by itself."""

from __future__ import annotations

import pytest

from balsam_scheduler.batch.answers import InVain
from balsam_scheduler.batch.observing import launch_of
from balsam_scheduler.batch.planning import plan
from balsam_scheduler.batch.policy import Band
from balsam_scheduler.batch.scene import Launch
from balsam_scheduler.batch.systems import in_vain
from tests.batch.planning_cases import launch, planned, policy, queue, reasons, scene, sizes, work
from tests.batch.test_changes import MADE

LIMIT = "PartitionNodeLimit: it asks for more nodes than it may have there; it does not start by itself"
SAID = f"launch 1 waits in vain ({LIMIT}); `balsam cancel 1` ends that"


def stuck(too_much: str, nodes: int = 4, minutes: int = 60, message: str = LIMIT) -> Launch:
    return launch(1, nodes, minutes, in_vain=InVain(too_much), message=message)


@pytest.mark.parametrize(
    ("system", "reason", "meaning"),
    [
        ("slurm", "PartitionNodeLimit", InVain("nodes")),
        ("slurm", LIMIT, InVain("nodes")),
        ("slurm", "QOSMaxCpuPerJobLimit", InVain("nodes")),
        ("slurm", "PartitionTimeLimit", InVain("minutes")),
        ("slurm", "AssocMaxWallDurationPerJobLimit", InVain("minutes")),
        ("slurm", "AssocMaxCpuMinutesPerJobLimit", InVain("node-minutes")),
        ("slurm", "AssocGrpCPUMinutesLimit", InVain()),
        ("slurm", "BadConstraints", InVain()),
        ("slurm", "JobHeldAdmin", InVain()),
        # These go away when others end, or when a node or partition comes back.
        ("slurm", "AssocGrpCpuLimit", None),
        ("slurm", "AssocGrpCPURunMinutesLimit", None),
        ("slurm", "QOSMaxJobsPerUserLimit", None),
        ("slurm", "ReqNodeNotAvail, UnavailableNodes:node1", None),
        ("slurm", "PartitionDown", None),
        ("slurm", "Resources", None),
        ("slurm", "", None),
        ("pbs", "Can Never Run: Not enough total nodes available", InVain("nodes")),
        ("pbs", "Can Never Run: Insufficient amount of resource: ngpus", InVain()),
        ("pbs", "held", InVain()),
        ("pbs", "Not Running: Insufficient amount of resource: ncpus", None),
        ("lsf", "PSUSP", InVain()),
        ("cobalt", "user_hold", InVain()),
        ("cobalt", "dep_hold", None),
        ("flux", "DEPEND", None),
        ("local", "whatever", None),
        ("unheard-of", "whatever", None),
    ],
)
def test_which_reasons_last(system: str, reason: str, meaning: InVain | None) -> None:
    assert in_vain(system, reason) == meaning


@pytest.mark.parametrize(("state", "is_stuck"), [("QUEUED", True), ("RUNNING", False), ("UNKNOWN", False)])
def test_only_a_launch_that_is_queued_waits(state: str, is_stuck: bool) -> None:
    values = {"launch_id": 1, "create_time": MADE, "state": state, "message": LIMIT, "batch_system": "slurm"}
    assert (launch_of(values, {}).in_vain == InVain("nodes")) is is_stuck


def test_it_covers_nothing_and_smaller_work_gets_a_launch() -> None:
    found = plan(policy(), scene(work(2), launches=(stuck("nodes"),)))
    assert sizes(found) == [(1, 30)]
    assert found.notes == (SAID,)


def test_what_would_wait_like_it_is_not_submitted_again_and_holds_nobody_back() -> None:
    found = plan(policy(), scene(work(1, 4), work(6), launches=(stuck("nodes"),)))
    assert sizes(found) == [(3, 30)]
    assert reasons(found) == [SAID]


@pytest.mark.parametrize(
    ("too_much", "found"),
    [("", []), ("nodes", [(3, 60), (3, 52)]), ("minutes", [(4, 49), (4, 42)]), ("node-minutes", [(4, 59), (4, 32)])],
)
def test_what_asks_for_less_of_what_it_asks_too_much_of_may_start(too_much: str, found: list[tuple[int, int]]) -> None:
    launches = (stuck(too_much, minutes=50 if too_much == "minutes" else 60),)
    assert planned(policy(), work(30), launches=launches) == found


def test_a_reason_that_is_of_no_size_keeps_everything_from_its_queue_and_nothing_from_others() -> None:
    held = stuck("", message="JobHeldUser: somebody must change that; it does not start by itself")
    found = plan(policy(), scene(work(1), launches=(held,)))
    assert (found.launches, "JobHeldUser" in reasons(found)[0]) == ((), True)
    rules = policy(queue(), queue("other", Band(1, 4, 30, 60)))
    assert [one.queue.name for one in plan(rules, scene(work(1), launches=(held,))).launches] == ["other"]
    assert planned(policy(queue(sched_flags="-C haswell")), work(1), launches=(held,)) == [(1, 30)]


def test_jobs_that_are_bound_to_it_are_told_so() -> None:
    found = plan(policy(), scene(work(1, launch=1), launches=(stuck("nodes"),)))
    assert reasons(found) == [f"bound to launch 1, which waits in vain ({LIMIT})"]
