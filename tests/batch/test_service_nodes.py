"""Jobs that need cores or GPUs: what the automatic submitter knows of nodes, and what it makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from balsam_scheduler.batch.nodes import NodeKind, Nodes, Report
from balsam_scheduler.batch.planning import plan
from balsam_scheduler.batch.reasons import why_never
from balsam_scheduler.batch.scene import Launcher, Memory
from balsam_scheduler.batch.work import Shape
from tests.batch.planning_cases import NOW, SPARE, launch, planned, policy, queue, reasons, scene, work

GPUS = Shape(1, 10, gpus=2)
UNKNOWN = Nodes()
CPU_NODES = (NodeKind(4, 8, 0),)


def lacks(shape: Shape, nodes: Nodes = UNKNOWN, **of_queue: int) -> str:
    return nodes.lacks(queue("batch", **of_queue), shape)


def test_of_nodes_that_nobody_knows_everything_may_be_had() -> None:
    assert lacks(GPUS) == ""
    assert lacks(Shape(1, 10, cores=100)) == ""
    assert lacks(Shape(1, 10), Nodes(cores=1), gpus_per_node=0) == ""


@pytest.mark.parametrize(
    ("nodes", "of_queue", "said"),
    [
        (Nodes(gpus=1), {"gpus_per_node": 4}, "has more than 1 (gpus_per_node in settings.toml)"),
        (Nodes(), {"gpus_per_node": 0}, "has one (gpus_per_node in policy.toml)"),
        (Nodes(reports=(Report("batch", "", CPU_NODES),)), {}, "has one (as launchers there have reported)"),
        (Nodes(reports=(Report("batch", "", CPU_NODES),)), {"gpus_per_node": 2}, ""),
        (Nodes(reports=(Report("batch", "-C gpu", CPU_NODES),)), {}, ""),
        (Nodes(reports=(Report("other", "", CPU_NODES),)), {}, ""),
    ],
)
def test_settings_come_before_the_policy_and_that_before_what_launchers_found(
    nodes: Nodes, of_queue: dict[str, int], said: str
) -> None:
    whole = f"needs 2 GPUs on a node, and no node of queue batch {said}" if said else ""
    assert lacks(GPUS, nodes, **of_queue) == whole


def test_cores_and_both_on_one_node() -> None:
    bound = Shape(1, 10, cores=16)
    said = "needs 16 cores to be bound to on a node, and no node of queue batch has more than 8 "
    assert lacks(bound, cores_per_node=8) == f"{said}(cores_per_node in policy.toml)"
    mixed = Nodes(reports=(Report("batch", "", (NodeKind(3, 16, 0), NodeKind(1, 8, 4))),))
    assert lacks(Shape(1, 10, cores=16, gpus=1), mixed).endswith("has both (as launchers there have reported)")
    assert lacks(Shape(1, 10, cores=8, gpus=1), mixed) == ""


def test_nothing_is_submitted_for_a_job_that_no_node_can_run_and_others_get_their_launch() -> None:
    found = plan(policy(queue(gpus_per_node=0)), scene(work(1, gpus=1), work(1)))
    assert [(one.nodes, one.jobs) for one in found.launches] == [(1, 1)]
    assert reasons(found) == [
        "needs 1 GPU on a node, and no node of queue batch has one (gpus_per_node in policy.toml)"
    ]
    assert found.verdicts[0].never
    said = why_never(policy(queue()), GPUS, "", SPARE, Nodes(gpus=1))
    assert said.endswith("has more than 1 (gpus_per_node in settings.toml)")


def test_the_queue_that_has_such_nodes_is_taken() -> None:
    rules = policy(queue("cpu", gpus_per_node=0), queue("gpu"))
    found = plan(rules, scene(work(3, gpus=1), work(9)))
    assert [one.queue.name for one in found.launches] == ["gpu"]


def test_what_a_launcher_found_is_remembered_when_its_launch_has_ended_at_once() -> None:
    """It could run nothing: the first launch of the kind is the last."""
    ended = launch(1, state="ENDED", kinds=CPU_NODES)
    first = plan(policy(), scene(work(1, gpus=1), launches=(ended,), has_run=False))
    assert first.launches == ()
    later = scene(work(1, gpus=1), launches=(replace(ended, kinds=()),), memory=first.memory)
    assert planned(policy(), work(1, gpus=1), launches=later.launches, memory=first.memory) == []
    # Until the launch is so old that nobody asks for it, or what is asked of the batch system has changed.
    assert planned(policy(), work(1, gpus=1), memory=first.memory) == [(1, 30)]
    flags = policy(queue(sched_flags="--gres=gpu:1"))
    assert planned(flags, work(1, gpus=1), launches=later.launches, memory=first.memory) == [(1, 30)]


def test_a_launch_covers_only_what_its_nodes_can_run() -> None:
    up = launch(1, 2, state="RUNNING", start_time=NOW, kinds=(NodeKind(1, 8, 0), NodeKind(1, 8, 4)))
    assert planned(policy(), work(1, gpus=1), launches=(up,)) == []
    assert planned(policy(), work(1, 2, gpus=1), launches=(up,)) == [(2, 30)]
    queued = launch(1, 2)
    assert planned(policy(), work(1, gpus=1), launches=(queued,)) == []
    cpu, gpu = queue("batch", gpus_per_node=0), queue("gpu")
    found = plan(policy(cpu, gpu), scene(work(1, gpus=1), launches=(queued,)))
    assert [one.queue.name for one in found.launches] == ["gpu"]


def test_an_idle_launcher_is_left_only_what_its_nodes_can_run() -> None:
    idle = Launcher("s1", "host:17", nodes=4, kinds=CPU_NODES)
    assert planned(policy(), work(1, gpus=1), launchers=(idle,), memory=Memory(sequence=1)) == [(1, 30)]
    assert planned(policy(), work(1, cores=8), launchers=(idle,)) == []
