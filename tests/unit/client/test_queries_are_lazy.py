"""What queries do without contacting anything, and how much they keep."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from balsam import client as clients
from balsam.errors import NotAllowed, SiteError, ValidationError
from balsam.ids import new_id
from balsam.job import BalsamJob
from balsam.q import Count, Q

ALL = BalsamJob.objects.all()


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """There is no site: whatever is contacted fails."""
    monkeypatch.chdir(tmp_path)
    clients.reset()
    yield
    clients.reset()


def test_queries_are_made_without_a_site() -> None:
    jobs = BalsamJob.objects.filter(state="FAILED").exclude(name="a").order_by("-priority")[:5]
    BalsamJob.objects.values("state").annotate(n=Count("pk")).order_by("-n")
    _ = (ALL & ALL.filter(name="a")) | ALL.filter(Q(name="b"))
    with pytest.raises(SiteError, match="no Balsam site at or above"):
        list(jobs)


def test_a_query_for_nothing_contacts_nothing() -> None:
    for query in (ALL.none(), ALL.filter(name__in=[]), ALL.filter(name="a").none() & ALL, ALL[3:3]):
        assert list(query) == []
        assert not query
        assert len(query) == query.count() == 0
        assert not query.exists()
        assert query.first() is None
    assert ALL.none().values_list("name", flat=True).count() == 0
    with pytest.raises(BalsamJob.DoesNotExist):
        ALL.none().get()


def test_slices_are_as_in_django() -> None:
    with pytest.raises(ValueError, match="negative indexing"):
        ALL[-1]
    with pytest.raises(ValueError, match="negative indexing"):
        ALL[:-1]
    for change in (
        lambda: ALL[:5].filter(name="a"),
        lambda: ALL[:5].order_by("name"),
        lambda: ALL[:5].update(name="a"),
        lambda: ALL[:5].delete(),
        lambda: ALL[:5] & ALL,
        lambda: ALL[:5].last(),
    ):
        with pytest.raises(TypeError, match="once a slice has been taken"):
            change()


def test_slices_of_slices() -> None:
    part = ALL[10:30][5:100]
    assert (part._start, part._stop) == (15, 30)
    assert (ALL[10:][:5]._start, ALL[10:][:5]._stop) == (10, 15)


def test_everything_is_not_deleted_by_accident() -> None:
    with pytest.raises(NotAllowed, match=r"say objects.all\(\).delete\(\)"):
        BalsamJob.objects.delete()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ALL.filter(nmae="a"), "not a field"),
        (lambda: ALL.order_by("nmae"), "not a field"),
        (lambda: ALL.values("nmae"), "not a field"),
        (lambda: ALL.values_list("name", "state", flat=True), "exactly one field"),
        (lambda: ALL.annotate(Count("pk")), "call values"),
        (lambda: ALL.values("state").annotate(n=len), "annotate takes Count"),
        (lambda: ALL.update(nmae="a"), "not a field"),
        (lambda: ALL.update(num_nodes=0), "num_nodes = 0"),
        (lambda: ALL.update(owner="a"), "read-only"),
        (lambda: ALL.create(nmae="a"), "not a field"),
        (lambda: ALL.bulk_create([BalsamJob()], batch_size=0), "batch_size = 0"),
        (lambda: ALL.bulk_create([1]), "1 is no BalsamJob"),  # type: ignore[list-item]
        (lambda: ALL.in_bulk(["x"]), "is not a job id"),
    ],
)
def test_mistakes_are_refused_before_anything_is_contacted(make: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        make()


class Pages:
    """Counts what is asked of a store that has 5 jobs, 2 to a page."""

    def __init__(self) -> None:
        self.asked = 0

    def pages(self, *_: Any) -> Iterator[list[dict[str, Any]]]:
        for size in (2, 2, 1):
            self.asked += 1
            yield [{"job_id": new_id(), "name": f"page {self.asked}"} for _ in range(size)]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Pages:
    """The store behind BalsamJob."""
    pages = Pages()
    monkeypatch.setattr(BalsamJob, "_calls", lambda: pages)
    return pages


def test_pages_are_read_as_rows_are_asked_for(store: Pages) -> None:
    rows = iter(ALL.all())
    next(rows)
    assert store.asked == 1
    next(rows)
    assert store.asked == 1
    next(rows)
    assert store.asked == 2
    assert len(list(rows)) == 2


def test_a_query_that_is_kept_keeps_its_rows(store: Pages) -> None:
    jobs = ALL.all()
    for job in jobs:
        job.priority = 7
    assert [job.priority for job in jobs] == [7] * 5
    assert len(jobs) == 5
    assert jobs[4].priority == 7
    assert all(job in jobs for job in jobs)
    assert store.asked == 3


def test_a_query_that_nobody_keeps_keeps_nothing(store: Pages) -> None:
    seen: list[weakref.ref[BalsamJob]] = []
    for job in ALL.filter(name__contains="page"):
        seen.append(weakref.ref(job))
        assert [reference() for reference in seen[:-1]] == [None] * (len(seen) - 1)
    assert len(seen) == 5


def test_loops_over_a_query_can_be_nested(store: Pages) -> None:
    jobs = ALL.all()
    assert sum(1 for _ in jobs for _ in jobs) == 25
    assert store.asked == 3


def test_an_index_or_a_test_reads_one_page(store: Pages) -> None:
    assert ALL.all()
    assert ALL[1].name == "page 2"
    assert store.asked == 2
    with pytest.raises(IndexError, match="has no row 9"):
        ALL[9]
