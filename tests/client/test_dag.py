"""`dag`, inside and outside of a job, against a real store."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from balsam import errors
from balsam.job import BalsamJob
from balsam.launch import QueuedLaunch
from balsam.launcher import dag

pytestmark = pytest.mark.usefixtures("store")


def saved(name: str, **fields: Any) -> BalsamJob:
    return dag.add_job(name, "w", "", args="true", **fields)


def test_jobs_are_added_with_any_field() -> None:
    job = dag.add_job("a", "w", "", "text", "true", 2, 3, priority=5, environ_vars="A=1")
    found = BalsamJob.objects.get(pk=job.pk)
    assert (found.description, found.num_nodes, found.ranks_per_node, found.priority) == ("text", 2, 3, 5)
    dag.add_job("b", "w", "", save=False)
    assert BalsamJob.objects.count() == 1
    with pytest.raises(ValueError, match="not a field"):
        dag.add_job("c", "w", "", walltime_minutes=3)


def test_the_current_job_is_one_object(in_job: BalsamJob) -> None:
    from balsam.launcher.dag import JOB_ID, current_job

    assert current_job == in_job
    assert in_job.pk == JOB_ID
    assert dag.current_job is current_job
    current_job.data["result"] = 1
    assert dag.current_job is not None
    dag.current_job.save()
    in_job.refresh_from_db()
    assert in_job.data["result"] == 1


def test_parents_and_children_of_the_current_job(in_job: BalsamJob) -> None:
    parent, child = saved("parent"), saved("child", parents=[in_job])
    dag.add_dependency(parent, in_job)
    assert list(dag.parents) == [parent]
    assert list(dag.children.filter(state="CREATED")) == [child]


def test_a_current_job_that_was_deleted(in_job: BalsamJob) -> None:
    in_job.delete()
    with pytest.raises(BalsamJob.DoesNotExist, match="was it deleted"):
        dag.current_job  # noqa: B018


def test_a_child_is_a_clone_that_waits(in_job: BalsamJob) -> None:
    grandparent, friend = saved("grandparent"), saved("friend")
    in_job.set_parents([grandparent])
    child = dag.spawn_child(clone=True, args="--finer", parents=[friend], wall_time_minutes=5)
    found = BalsamJob.objects.get(pk=child.pk)
    assert (found.name, found.workflow, found.num_nodes, found.args) == ("me", "w", 2, "--finer")
    assert set(found.get_parents()) == {grandparent, friend, in_job}
    assert dag.current_job is not None
    child.data["x"]["y"] = 2
    assert dag.current_job.data == {"x": {"y": 1}}
    with pytest.raises(ValueError, match="not a field"):
        dag.spawn_child(walltime_minutes=3)


def test_a_job_cannot_be_bound_to_a_launch_that_does_not_exist() -> None:
    with pytest.raises(errors.NotFound, match="queued_launch = 17: there is no such launch"):
        saved("a", queued_launch="17")


def test_what_a_bound_job_adds_is_bound_as_it_is(in_job: BalsamJob) -> None:
    launch = QueuedLaunch.objects.create(nodes=2)
    in_job.queued_launch = launch
    in_job.save()
    added, free = saved("added"), saved("free", queued_launch=None)
    assert BalsamJob.objects.get(pk=added.pk).queued_launch == launch.pk
    assert free.queued_launch is None
    assert dag.spawn_child().queued_launch == launch.pk
    assert {job.queued_launch for job in dag.wf_from_template("w", "copy")} == {None}


def test_a_clone_is_new() -> None:
    job = saved("a", parents=[saved("p")], environ_vars={"A": "b:c"}, user_workdir="/tmp/x", cpu_affinity="depth")
    job.update_state("FAILED")
    copy = dag.clone(job, name="b")
    assert (copy.state, copy.user_workdir, copy.cpu_affinity) == ("CREATED", "", "depth")
    assert copy.parents == job.parents
    assert copy.environ_vars == {"A": "b:c"}
    assert copy.pk != job.pk
    copy.save()
    assert BalsamJob.objects.filter(parents__in=job.parents).count() == 2


def test_dependencies_are_given_in_any_form() -> None:
    parents = [saved(f"p{number}") for number in range(4)]
    child = saved("child")
    dag.add_dependency(parents[0], child)
    dag.add_dependency(str(parents[1].pk), child.pk)
    dag.add_dependency(parent=parents[2].pk, child=str(child.pk))
    dag.add_dependency(BalsamJob.objects.filter(name="p3"), BalsamJob.objects.filter(name="child"))
    assert child.get_parents().count() == 4
    assert len(child.parents) == 4
    with pytest.raises(errors.ValidationError, match="parent: 5 jobs were given where one is needed"):
        dag.add_dependency(BalsamJob.objects.all(), child)


def test_doubles_and_cycles_are_runtime_errors() -> None:
    first, second, third = (saved(name) for name in "abc")
    dag.add_dependency(first, second)
    dag.add_dependency(second, third)
    with pytest.raises(RuntimeError, match=r"depends on a .* already"):
        dag.add_dependency(first, second)
    with pytest.raises(RuntimeError, match=r"would close the cycle a .* -> b .* -> c .* -> a"):
        dag.add_dependency(third, first)
    with pytest.raises(RuntimeError, match="cannot depend on itself"):
        dag.add_dependency(first, first)
    with pytest.raises(errors.NotFound):
        dag.add_dependency(uuid.uuid4(), first)
    assert third.get_parents_by_id() == [str(second.pk)]


def test_a_cycle_is_seen_before_it_is_saved() -> None:
    first, second, third = (saved(name) for name in "abc")
    dag.add_dependency(first, second)
    dag.add_dependency(second, third)
    assert not dag.detect_circular(third)
    first.parents.append(str(third.pk))
    assert dag.detect_circular(first)


def test_killing_a_subtree() -> None:
    root, ended, below, other = (saved(name) for name in ("root", "ended", "below", "other"))
    dag.add_dependency(root, ended)
    dag.add_dependency(ended, below)
    ended.update_state("JOB_FINISHED")
    assert dag.kill(root, recursive=False) == 1
    assert dag.kill(root) == 1
    assert dag.kill(BalsamJob.objects.filter(name="other")) == 1
    states = dict(BalsamJob.objects.values_list("name", "state"))
    assert states == {
        "root": "USER_KILLED",
        "ended": "JOB_FINISHED",
        "below": "USER_KILLED",
        "other": "USER_KILLED",
    }
    assert other.pk


def test_a_workflow_is_copied_with_its_graph() -> None:
    outside = dag.add_job("outside", "elsewhere", "", args="true")
    last = saved("last")
    first = saved("first", parents=[outside], data=json.loads('{"x": 1}'))
    dag.add_dependency(first, last)
    copies = dag.wf_from_template("w", "copy", first={"args": "-v", "data": {"x": 2}})
    new = {job.name: job for job in copies}
    assert new.keys() == {"first", "last"}
    assert (new["first"].args, new["first"].data, new["last"].args) == ("-v", {"x": 2}, "true")
    assert list(new["last"].get_parents()) == [new["first"]]
    assert list(new["first"].get_parents()) == [outside]
    assert list(last.get_parents()) == [first]


@pytest.mark.parametrize(
    ("source", "target", "overrides", "said"),
    [
        ("nothing", "new", {}, "there is no job in workflow 'nothing'"),
        ("w", "w", {}, "workflow 'w' has jobs already"),
        ("w", "new", {"x": {}}, "workflow 'w' has no job named 'x'"),
        ("w", "new", {"a": {"arg": "x"}}, "'arg' is not a field"),
    ],
)
def test_a_workflow_that_cannot_be_copied(source: str, target: str, overrides: Any, said: str) -> None:
    saved("a")
    with pytest.raises(ValueError, match=said):
        dag.wf_from_template(source, target, **overrides)
    assert BalsamJob.objects.count() == 1
