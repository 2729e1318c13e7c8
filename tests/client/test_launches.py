"""Launches as objects of a real store, and jobs that are bound to them."""

from __future__ import annotations

import pickle

import pytest

import balsam
from balsam import errors
from balsam.client import Client
from balsam.core.models import BalsamJob, Q, QueuedLaunch

pytestmark = pytest.mark.usefixtures("store")


def test_a_launch_is_recorded_with_its_defaults() -> None:
    launch = QueuedLaunch(project="p", queue="debug", nodes="4", prescheduled_only=True)
    assert (launch.pk, repr(launch)) == (None, "<QueuedLaunch not stored PENDING_SUBMISSION>")
    launch.save()
    assert launch.pk == launch.id == launch.launch_id
    assert (launch.owner != "", launch.create_time is not None, launch.revision) == (True, True, 1)
    found = QueuedLaunch.objects.get(pk=launch.pk)
    assert found == launch
    assert (found.nodes, found.wall_minutes, found.job_mode, found.wf_filter) == (4, 60, "auto", "")
    assert (found.state, found.prescheduled_only, found.from_balsam) == ("PENDING_SUBMISSION", True, True)
    assert (found.scheduler_id, found.sched_flags, found.command) == ("", "", "")


def test_launches_that_are_not_stored_are_different() -> None:
    one, two = QueuedLaunch(), QueuedLaunch()
    assert one != two
    assert one == one


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nodes", 0),
        ("wall_minutes", 0),
        ("job_mode", "both"),
        ("state", "submitted"),
        ("queue", "q" * 201),
        ("launch_id", 3),
        ("walltime", 3),
    ],
)
def test_a_wrong_value_is_refused_at_once(field: str, value: object) -> None:
    with pytest.raises(errors.ValidationError, match=field):
        QueuedLaunch(**{field: value})


def test_changes_are_saved_field_by_field() -> None:
    QueuedLaunch.objects.create(nodes=2)
    one, two, late = (QueuedLaunch.objects.get() for _ in range(3))
    one.state, one.scheduler_id = "QUEUED", "17"
    one.save()
    two.nodes = 3
    two.save(if_unchanged=False)
    launch = QueuedLaunch.objects.get()
    assert (launch.state, launch.scheduler_id, launch.nodes, launch.revision) == ("QUEUED", "17", 3, 3)
    late.queue = "long"
    with pytest.raises(errors.Conflict, match=r"was changed meanwhile \(revision 3, yours is of 1\)"):
        late.save(if_unchanged=True)
    launch.state = "PENDING_SUBMISSION"
    launch.save()
    assert QueuedLaunch.objects.get().state == "PENDING_SUBMISSION"
    with pytest.raises(errors.ValidationError, match="launch_id"):
        launch.launch_id = 5


def test_queries_over_launches() -> None:
    rows = [("debug", 2, "QUEUED"), ("long", 8, "RUNNING"), ("long", 4, "QUEUED")]
    first, second, third = (QueuedLaunch.objects.create(queue=q, nodes=n, state=s) for q, n, s in rows)
    launches = QueuedLaunch.objects
    assert list(launches.all()) == [first, second, third]
    assert launches.last() == third
    assert list(launches.filter(queue="long").order_by("nodes")) == [third, second]
    assert list(launches.filter(Q(state="RUNNING") | Q(nodes__lt=3))) == [first, second]
    assert list(launches.filter(state__contains="UE").values_list("pk", flat=True)) == [first.pk, third.pk]
    assert launches.filter(state="QUEUED").update(state="CANCELLED") == 2
    assert launches.exclude(state="CANCELLED").get() == second
    assert launches.filter(pk__in=[first.pk, second.pk]).count() == 2
    assert launches.get_or_create(queue="debug", nodes=2) == (first, False)
    assert launches.filter(queue="long").delete() == (2, {"QueuedLaunch": 2})
    with pytest.raises(QueuedLaunch.DoesNotExist, match="no QueuedLaunch matches"):
        launches.get(pk=second.pk)
    with pytest.raises(QueuedLaunch.DoesNotExist, match=f"launch {second.pk} does not exist"):
        second.refresh_from_db()
    with pytest.raises(errors.ValidationError, match="'walltime' is not a field of QueuedLaunch"):
        launches.filter(walltime=3)


def test_a_site_has_its_own_class(store: Client) -> None:
    launch = store.QueuedLaunch.objects.create()
    assert balsam.QueuedLaunch.objects.get() == launch
    assert pickle.loads(pickle.dumps(launch)).launch_id == launch.launch_id


def test_a_job_is_bound_to_a_launch_or_its_id() -> None:
    launch, other = QueuedLaunch.objects.create(), QueuedLaunch.objects.create()
    job = BalsamJob.objects.create(name="a", queued_launch=launch)
    assert BalsamJob.objects.get().queued_launch == job.queued_launch == launch.pk
    free = BalsamJob.objects.create(name="free")
    assert list(BalsamJob.objects.filter(queued_launch=launch)) == [job]
    assert list(BalsamJob.objects.filter(queued_launch__in=QueuedLaunch.objects.all())) == [job]
    assert list(BalsamJob.objects.filter(queued_launch=None)) == [free]
    assert list(BalsamJob.objects.exclude(queued_launch__isnull=False)) == [free]
    assert dict(BalsamJob.objects.order_by("-queued_launch").values_list("name", "queued_launch")) == {
        "a": launch.pk,
        "free": None,
    }
    assert BalsamJob.objects.filter(name="free").update(queued_launch=other) == 1
    job.queued_launch = str(other.pk)
    job.save()
    assert BalsamJob.objects.filter(queued_launch=other.pk).count() == 2
    job.queued_launch = ""
    job.save()
    assert BalsamJob.objects.get(name="a").queued_launch is None
    assert BalsamJob.from_dict(free.to_dict()).to_dict()["queued_launch"] is None


def test_a_launch_that_is_deleted_or_over_frees_its_jobs() -> None:
    deleted, ended = QueuedLaunch.objects.create(), QueuedLaunch.objects.create()
    jobs = [BalsamJob.objects.create(queued_launch=launch) for launch in (deleted, ended)]
    deleted.delete()
    ended.state = "ENDED"
    ended.save()
    for job in jobs:
        job.refresh_from_db()
    assert [job.queued_launch for job in jobs] == [None, None]
    with pytest.raises(errors.NotFound, match=f"queued_launch = {deleted.pk}: there is no such launch"):
        BalsamJob.objects.create(queued_launch=deleted)


@pytest.mark.parametrize("value", ["x", 0, -1, 1.5, QueuedLaunch()])
def test_what_is_no_launch_is_refused_at_once(value: object) -> None:
    with pytest.raises(errors.ValidationError, match="queued_launch = "):
        BalsamJob(queued_launch=value)
