"""Queries, evaluated by a real store over both databases."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

import balsam
from balsam import client as clients
from balsam import errors
from balsam.client import Client
from balsam.ids import new_id
from balsam.job import BalsamJob
from balsam.q import Count, Q
from balsam.queryset import QuerySet
from balsam.site import Site
from tests.support.processes import services
from tests.support.sites import make_test_site

STATES = {"n1": "JOB_FINISHED", "n3": "FAILED", "n5": "RESTART_READY"}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose job store runs, over each database."""
    database = request.param
    if database == "postgres":
        cluster = request.getfixturevalue("postgres_cluster")
        from tests.support.postgres import execute

        name = f"client_{uuid.uuid4().hex}"
        execute(cluster.url, f"CREATE DATABASE {name}")
        database = cluster.url_of(name)
    site = make_test_site(tmp_path_factory.mktemp("queries"), database)
    with services(site, "jobstore"):
        yield site


@pytest.fixture
def jobs(store: Client) -> QuerySet[BalsamJob]:
    """Ten jobs: n0 to n9; `i` counts in data, workflows alternate, nodes are 1, 2, 3, 1, ..."""
    made = [
        BalsamJob(
            name=f"n{i}",
            workflow=f"w{i % 2}",
            num_nodes=i % 3 + 1,
            gpus_per_rank=i / 4,
            cpu_affinity="depth" if i == 4 else "none",
            post_error_handler=i == 6,
            data={"i": i, "half": i / 2, "text": f"T{i}", "even": i % 2 == 0, "deep": [{"k": i}], "none": None}
            | ({"only": 7} if i == 7 else {}),
        )
        for i in range(10)
    ]
    BalsamJob.objects.bulk_create(made)
    for name, state in STATES.items():
        BalsamJob.objects.get(name=name).update_state(state)
    return BalsamJob.objects.all()


def found(query: QuerySet[Any]) -> str:
    """The numbers in the names of the jobs found."""
    return "".join(job.name[1:] for job in query)


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ({"name": "n3"}, "3"),
        ({"name__iexact": "N3"}, "3"),
        ({"name__in": ["n3", "n8", "x"]}, "38"),
        ({"name__gt": "n7"}, "89"),
        ({"name__range": ("n2", "n4")}, "234"),
        ({"name__endswith": "5"}, "5"),
        ({"name__regex": "[13]$"}, "13"),
        ({"name__glob": "n?"}, "0123456789"),
        ({"workflow__istartswith": "W1"}, "13579"),
        ({"num_nodes": 3}, "258"),
        ({"num_nodes__gte": 2, "workflow": "w0"}, "248"),
        ({"gpus_per_rank__lt": 0.6}, "012"),
        ({"cpu_affinity": "depth"}, "4"),
        ({"cpu_affinity__contains": "non", "num_nodes": 2}, "17"),
        ({"post_error_handler": True}, "6"),
        ({"state": "FAILED"}, "3"),
        ({"state__in": ["FAILED", "JOB_FINISHED"]}, "13"),
        ({"state__startswith": "RE"}, "5"),
        ({"exit_code": None, "name__in": ["n1", "n2"]}, "12"),
        ({"exit_code__isnull": False}, ""),
        ({"create_time__gt": "2001-01-01", "name": "n1"}, "1"),
        ({"create_time__lt": "2001-01-01"}, ""),
        ({"data__i": 4}, "4"),
        ({"data__i__lt": 2}, "01"),
        ({"data__half__range": (1, 2)}, "234"),
        ({"data__half__in": [0.5, 2, "x"]}, "14"),
        ({"data__text": "T4"}, "4"),
        ({"data__text__icontains": "t4"}, "4"),
        ({"data__even": False}, "13579"),
        ({"data__deep__0__k__gte": 8}, "89"),
        ({"data__none": None, "name": "n1"}, "1"),
        ({"data__none__isnull": True}, ""),
        ({"data__only__isnull": False}, "7"),
        ({"data__i": "4"}, ""),
        ({"data__nothing__lt": 3}, ""),
    ],
    ids=str,
)
def test_a_lookup_finds(jobs: QuerySet[BalsamJob], conditions: dict[str, Any], numbers: str) -> None:
    assert found(jobs.filter(**conditions)) == numbers
    assert jobs.filter(**conditions).count() == len(numbers)
    assert found(jobs.exclude(**conditions)) == "".join(sorted(set("0123456789") - set(numbers)))


def test_ids_are_found_in_every_form(jobs: QuerySet[BalsamJob]) -> None:
    job = jobs[3]
    text = str(job.pk)
    for query in (
        jobs.filter(pk=job.pk),
        jobs.filter(job_id=text.upper()),
        jobs.filter(job_id__startswith=text[:9]),
        jobs.filter(job_id__icontains=text[9:20].upper()),
        jobs.filter(pk__in=[job, new_id()]),
        jobs.filter(pk__in=jobs.filter(name="n3")),
        jobs.filter(name__in=jobs.filter(name="n3").values_list("name", flat=True)),
    ):
        assert list(query) == [job]


def test_conditions_are_combined(jobs: QuerySet[BalsamJob]) -> None:
    assert found(jobs.filter(Q(name="n1") | Q(num_nodes=3), ~Q(name="n5"))) == "128"
    assert found(jobs.filter(num_nodes=1) & jobs.filter(workflow="w0")) == "06"
    assert found(jobs.filter(num_nodes=1) | jobs.filter(name="n1")) == "01369"
    assert found(jobs.exclude(Q(num_nodes=1) | Q(workflow="w1"))) == "248"
    assert found(jobs.exclude()) == "0123456789"


def test_parents_and_children(jobs: QuerySet[BalsamJob]) -> None:
    child = BalsamJob(name="c", parents=jobs[:2])
    child.save()
    assert list(jobs.filter(parents=jobs[0])) == [child]
    assert list(jobs.filter(parents__contains=str(jobs[1].pk))) == [child]
    assert found(jobs.filter(children=child)) == "01"
    assert jobs.filter(parents__in=[jobs[0], jobs[5]]).count() == 1
    assert jobs.filter(parents__isnull=False).get() == child
    assert jobs.filter(children__isnull=True).count() == 9


def test_jobs_come_in_order_of_creation_or_as_asked(jobs: QuerySet[BalsamJob]) -> None:
    assert found(jobs) == "0123456789"
    assert found(jobs.order_by("-name")) == "9876543210"
    assert found(jobs.order_by("num_nodes", "-name")) == "9630741852"
    assert found(jobs.order_by("-data__half")) == "9876543210"
    assert found(jobs.order_by("-name").order_by()) == "0123456789"


def test_first_and_last(jobs: QuerySet[BalsamJob]) -> None:
    for query, first, last in [
        (jobs, "n0", "n9"),
        (jobs.order_by("num_nodes"), "n0", "n8"),
        (jobs.order_by("-num_nodes"), "n2", "n9"),
        (jobs.order_by("data__even", "-name"), "n9", "n0"),
        (jobs.filter(num_nodes=2), "n1", "n7"),
        (jobs.order_by("data__only"), "n0", "n7"),
        (jobs.order_by("-data__only"), "n7", "n9"),
    ]:
        ends = query.first(), query.last()
        assert [job.name for job in ends if job] == [first, last]
    assert jobs.filter(name="x").first() is jobs.filter(name="x").last() is None


def test_slices(jobs: QuerySet[BalsamJob]) -> None:
    assert found(jobs[2:5]) == "234"
    assert found(jobs[8:]) == "89"
    assert found(jobs[2:9][1:3]) == "34"
    assert found(jobs[::4]) == "048"
    assert jobs[3].name == "n3"
    assert jobs[2:5].count() == len(jobs[2:5]) == 3
    assert jobs[8:20].count() == 2
    assert not jobs[10:].exists()
    with pytest.raises(IndexError):
        jobs.filter(name="n1")[1]


def test_one_job(jobs: QuerySet[BalsamJob]) -> None:
    assert jobs.get(name="n4") == jobs[4]
    with pytest.raises(BalsamJob.DoesNotExist, match="no BalsamJob matches name='x', state='FAILED'"):
        jobs.get(name="x", state="FAILED")
    with pytest.raises(BalsamJob.MultipleObjectsReturned, match="more than one BalsamJob matches num_nodes=1"):
        jobs.get(num_nodes=1)
    assert jobs[4] in jobs
    assert jobs[4] not in jobs.filter(num_nodes=3)
    assert BalsamJob() not in jobs


def test_values(jobs: QuerySet[BalsamJob]) -> None:
    assert list(jobs.filter(name="n3").values("name", "state", "data__half")) == [
        {"name": "n3", "state": "FAILED", "data__half": 1.5}
    ]
    assert list(jobs.order_by("-name").values_list("name", "data__deep__0__k")[:2]) == [("n9", 9), ("n8", 8)]
    assert list(jobs.values_list("pk", flat=True)) == [job.pk for job in jobs]
    row = jobs.values().get(name="n3")
    assert row["data"]["i"] == 3
    assert row["parents"] == []
    assert row["num_nodes"] == 1
    assert jobs.values_list("create_time", flat=True)[0] == jobs[0].create_time


def test_distinct_and_counted_values(jobs: QuerySet[BalsamJob]) -> None:
    assert list(jobs.values_list("workflow", flat=True).distinct()) == ["w0", "w1"]
    assert list(jobs.distinct().values_list("num_nodes", flat=True).order_by("-num_nodes")) == [3, 2, 1]
    assert sorted(jobs.values_list("data__even", flat=True).distinct()) == [False, True]
    assert list(jobs.order_by("-name").values_list("workflow", flat=True).distinct()) == ["w1", "w0"]
    assert jobs.values_list("workflow").distinct().count() == 2
    counts = jobs.values("workflow", "cpu_affinity").annotate(n=Count("pk")).order_by("-n", "workflow")
    assert list(counts) == [
        {"workflow": "w1", "cpu_affinity": "none", "n": 5},
        {"workflow": "w0", "cpu_affinity": "none", "n": 4},
        {"workflow": "w0", "cpu_affinity": "depth", "n": 1},
    ]
    states = dict(jobs.values_list("state").annotate(Count("state")))
    assert states == {"CREATED": 7, "JOB_FINISHED": 1, "FAILED": 1, "RESTART_READY": 1}
    assert list(jobs.values("post_error_handler").annotate(n=Count("*"))) == [
        {"post_error_handler": False, "n": 9},
        {"post_error_handler": True, "n": 1},
    ]


def test_changing_many(jobs: QuerySet[BalsamJob]) -> None:
    assert jobs.filter(num_nodes=2).update(priority="7", data={"new": 1}) == 3
    assert found(jobs.filter(priority=7, data__new=1)) == "147"
    assert jobs.filter(name="x").update(priority=1) == 0
    assert jobs.update() == 0
    assert jobs.filter(workflow="w0").update(state="FAILED") == 5


def test_a_state_and_fields_are_set_for_the_same_jobs(jobs: QuerySet[BalsamJob]) -> None:
    assert jobs.filter(workflow="w0", state="CREATED").update(workflow="done", state="JOB_FINISHED") == 5
    assert jobs.filter(workflow="done", state="JOB_FINISHED").count() == 5


def test_what_could_not_be_changed_is_said(jobs: QuerySet[BalsamJob]) -> None:
    jobs.filter(name="n2").update(state="USER_KILLED")
    with pytest.raises(errors.InvalidStateError, match=r"n2 .* \(9 moved, 1 refused\)"):
        jobs.update(state="RESTART_READY")
    assert jobs.filter(state="RESTART_READY").count() == 9


def test_deleting_many(jobs: QuerySet[BalsamJob]) -> None:
    assert jobs.filter(num_nodes=1).delete() == (4, {"BalsamJob": 4})
    assert found(jobs.all()) == "124578"
    assert jobs.none().delete() == (0, {})
    assert jobs.filter(name="x").delete() == (0, {})


def test_get_or_create(jobs: QuerySet[BalsamJob]) -> None:
    job, created = BalsamJob.objects.get_or_create(name="new", workflow="w0", defaults={"num_nodes": 9})
    assert (created, job.num_nodes) == (True, 9)
    again, created = BalsamJob.objects.get_or_create(name="new", workflow="w0", defaults={"num_nodes": 5})
    assert (created, again.num_nodes) == (False, 9)
    with pytest.raises(BalsamJob.MultipleObjectsReturned):
        jobs.get_or_create(workflow="w0")


def test_in_bulk(jobs: QuerySet[BalsamJob]) -> None:
    ids = [job.pk for job in jobs[:2]]
    assert {key: job.name for key, job in jobs.in_bulk([*ids, new_id()]).items()} == {ids[0]: "n0", ids[1]: "n1"}
    assert len(jobs.in_bulk()) == 10


def test_many_jobs_are_added_all_or_none(store: Client) -> None:
    good = [BalsamJob(name=f"g{i}") for i in range(3)]
    with pytest.raises(errors.NotFound, match="job 1 of 3: application 'nope' does not exist") as refused:
        BalsamJob.objects.bulk_create([good[0], BalsamJob(application="nope"), good[1]])
    assert "no job was added" in str(refused.value)
    assert BalsamJob.objects.count() == 0
    with pytest.raises(errors.NotFound):
        BalsamJob.objects.bulk_create([*good, BalsamJob(application="nope")], batch_size=2)
    assert BalsamJob.objects.count() == 2
    assert BalsamJob.objects.bulk_create(iter(good)) == good
    assert BalsamJob.objects.bulk_create([]) == []
    assert [job.name for job in BalsamJob.objects.all()] == ["g0", "g1", "g2"]


def test_children_are_added_with_their_parents(store: Client) -> None:
    chain = [BalsamJob(name="0")]
    for number in range(1, 50):
        chain.append(BalsamJob(name=str(number), parents=[chain[-1]]))
    BalsamJob.objects.bulk_create(chain)
    assert chain[30].get_parents().get() == chain[29]


def test_more_than_a_page_is_streamed(store: Client) -> None:
    jobs = [BalsamJob(name=str(number), workflow="many", priority=number % 7) for number in range(2500)]
    BalsamJob.objects.bulk_create(jobs)
    query = BalsamJob.objects.filter(workflow="many")
    assert [job.pk for job in query] == [job.pk for job in jobs]
    assert [job.name for job in query.iterator(chunk_size=300)] == [job.name for job in jobs]
    expected = sorted(jobs, key=lambda job: -job.priority)
    assert list(query.order_by("-priority").values_list("pk", flat=True)) == [job.pk for job in expected]
    assert query.all()[1500:1502].count() == 2
    assert query.all()[2499] == query.last() == jobs[-1]


def test_two_sites_in_one_program(store: Client, tmp_path: Any) -> None:
    other_site = make_test_site(tmp_path)
    with services(other_site, "jobstore"):
        other = balsam.connect(other_site.path)
        other.BalsamJob(name="there").save()
        BalsamJob(name="here").save()
        assert [job.name for job in other.BalsamJob.objects.all()] == ["there"]
        assert [job.name for job in BalsamJob.objects.all()] == ["here"]
        other.close()


def test_a_store_that_does_not_run(tmp_path: Any) -> None:
    clients.reset()
    site = make_test_site(tmp_path)
    with pytest.raises(errors.Unavailable, match="the job store is not running; start it with `balsam up`"):
        balsam.connect(site.path).BalsamJob.objects.count()
    clients.reset()
