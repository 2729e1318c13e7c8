"""What filter(...) and Q mean, and what they refuse; nothing is contacted."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from balsam import query
from balsam.application import ApplicationDefinition
from balsam.errors import ValidationError
from balsam.fields import JOB_FIELDS
from balsam.job import BalsamJob
from balsam.q import Count, Q, counted_field
from balsam.query import EVERYTHING, NOTHING, AllOf, AnyOf, Key, NotOf

AN_ID = "1f4a09c2-0000-4000-8000-000000000001"


def meaning(*args: Any, **kwargs: Any) -> query.Node:
    return query.conditions(JOB_FIELDS, "BalsamJob", args, kwargs)


def one(field: str, op: str, *values: Any, path: tuple[str, ...] = ()) -> query.Test:
    return query.Test(field, path, op, values)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("name", "a", one("name", "EXACT", "a")),
        ("name__icontains", "A", one("name", "ICONTAINS", "A")),
        ("name__regex", r"^a\d$", one("name", "REGEX", r"^a\d$")),
        ("name__in", ["a", "b"], one("name", "IN", "a", "b")),
        ("pk", AN_ID.upper(), one("job_id", "EXACT", AN_ID)),
        ("job_id", uuid.UUID(AN_ID), one("job_id", "EXACT", AN_ID)),
        ("job_id__startswith", "1f4a", one("job_id", "STARTSWITH", "1f4a")),
        ("num_nodes__gte", "4", one("num_nodes", "GTE", 4)),
        ("num_nodes__lt", 1.5, one("num_nodes", "LT", 1.5)),
        ("num_nodes__range", (2, 8), one("num_nodes", "RANGE", 2, 8)),
        ("post_error_handler", "true", one("post_error_handler", "EXACT", True)),
        ("state", "FAILED", one("state", "EXACT", "FAILED")),
        ("parents__icontains", AN_ID, one("parents", "EXACT", AN_ID)),
        ("children__in", [AN_ID], one("children", "IN", AN_ID)),
        ("parents__isnull", True, one("parents", "ISNULL", True)),
        ("parents", "[]", one("parents", "ISNULL", True)),
        ("data__energy__lt", -3, one("data", "LT", -3, path=("energy",))),
        ("data__a__0__b", "x", one("data", "EXACT", "x", path=("a", "0", "b"))),
        ("data__range", 3, one("data", "EXACT", 3, path=("range",))),
        ("data__x", None, one("data", "EXACT", None, path=("x",))),
        ("data__x__isnull", False, one("data", "ISNULL", False, path=("x",))),
        ("exit_code", None, one("exit_code", "ISNULL", True)),
        ("queued_launch", None, one("queued_launch", "ISNULL", True)),
        ("queued_launch", "17", one("queued_launch", "EXACT", 17)),
        ("state__startswith", "RUN", one("state", "IN", "RUNNING", "RUN_DONE", "RUN_ERROR", "RUN_TIMEOUT")),
        ("state__icontains", "parents", one("state", "IN", "AWAITING_PARENTS")),
        ("state__glob", "*_D?NE", one("state", "IN", "RUN_DONE")),
        ("state__regex", "^(FAILED|READY)$", one("state", "IN", "READY", "FAILED")),
        ("state__contains", "no such", NOTHING),
        ("cpu_affinity__endswith", "th", one("cpu_affinity", "IN", "depth")),
        ("name__in", [], NOTHING),
        ("job_id__isnull", True, NOTHING),
        ("state__isnull", False, EVERYTHING),
    ],
)
def test_a_lookup_means(key: str, value: Any, expected: query.Node) -> None:
    assert meaning(**{key: value}) == expected


def test_times_are_compared_in_utc() -> None:
    noon = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    expected = one("create_time", "GT", datetime(2030, 1, 1, 10, tzinfo=UTC))
    assert meaning(create_time__gt=noon) == expected
    assert meaning(create_time__gt="2030-01-01T10:00:00Z") == expected


def test_a_time_without_a_zone_is_local_time() -> None:
    naive = datetime(2030, 1, 1, 12)
    assert meaning(create_time__gt=naive) == one("create_time", "GT", naive.astimezone(UTC))


def test_a_job_stands_for_its_id() -> None:
    job = BalsamJob()
    assert meaning(parents=job) == one("parents", "EXACT", str(job.job_id))
    assert meaning(pk__in=[job, job.job_id]) == one("job_id", "IN", *[str(job.job_id)] * 2)


def test_a_query_as_list_of_ids_is_its_condition() -> None:
    failed = BalsamJob.objects.filter(state="FAILED")
    assert meaning(pk__in=failed) == one("state", "EXACT", "FAILED")
    assert meaning(job_id__in=failed.values_list("job_id", flat=True)) == one("state", "EXACT", "FAILED")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("nmae", "x", "'nmae' is not a field of BalsamJob; did you mean 'name'?"),
        ("name__like", "x", "'like' is not a lookup of name (lookups: exact, in,"),
        ("name__exact__lower", "x", "'exact__lower' is not a lookup of name"),
        ("num_nodes__contains", "1", "'contains' is not a lookup of num_nodes"),
        ("data", {}, "name a key of data"),
        ("environ_vars", "A=1", "environ_vars cannot be queried"),
        ("state", "DONE", "state = 'DONE': must be one of CREATED"),
        ("state__in", ["FAILED", "DONE"], "state = 'DONE': must be one of CREATED"),
        ("cpu_affinity", "deep", "cpu_affinity = 'deep': must be one of none, depth"),
        ("num_nodes", "many", "num_nodes = 'many': must be a number"),
        ("num_nodes", True, "num_nodes = True: must be a number"),
        ("gpus_per_rank__lt", float("nan"), "is not a number"),
        ("num_nodes__lt", 10**30, "is too large a number"),
        ("job_id", "1f4a", "job_id = '1f4a': is not a job id"),
        ("name", 3, "name = 3: must be a text"),
        ("name", "a\0", "holds a NUL character"),
        ("name", "\ud800", "lone surrogate"),
        ("name__in", "abc", "name__in takes a list"),
        ("num_nodes__range", [1], "takes two values"),
        ("name__regex", "(", "is not a regular expression"),
        ("name__regex", "a" * 201, "at most 200 characters"),
        ("exit_code__isnull", 1, "isnull takes true or false"),
        ("create_time__gt", "yesterday", "must be a time"),
        ("data__x", {"y": 1}, "data is compared with"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(key: str, value: Any, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        meaning(**{key: value})
    assert said in str(refused.value)


def test_the_refusal_of_a_field_names_the_fields_there_are() -> None:
    with pytest.raises(ValidationError, match=r"fields: name, executable, .*, revision\)"):
        ApplicationDefinition.objects.filter(workflow="x")


A, B, C = (one("name", "EXACT", letter) for letter in "abc")


def test_conditions_are_joined_by_and() -> None:
    assert meaning(Q(name="a"), name="b") == AllOf((A, B))
    assert meaning() == EVERYTHING


def test_q_is_joined_by_its_operators() -> None:
    a, b, c = (Q(name=letter) for letter in "abc")
    assert meaning(a | b) == AnyOf((A, B))
    assert meaning((a | b) & c) == AllOf((AnyOf((A, B)), C))
    assert meaning(a | (b & c)) == AnyOf((A, AllOf((B, C))))
    assert meaning(~a & b) == AllOf((NotOf(A), B))
    assert meaning(~~a) == A
    assert meaning(~(a | b)) == NotOf(AnyOf((A, B)))
    assert meaning(Q() | a) == A
    assert meaning(~Q()) == EVERYTHING


def test_a_long_chain_stays_flat() -> None:
    chain = Q()
    for number in range(3000):
        chain |= Q(num_nodes=number)
    node = meaning(chain)
    assert isinstance(node, AnyOf)
    assert len(node.parts) == 3000


def test_q_of_django_is_taken_by_its_shape() -> None:
    """As django.db.models.Q makes them: a class of its own with the same three attributes."""
    inner = SimpleNamespace(children=[("name", "a"), ("name", "b")], connector="OR", negated=True)
    outer = SimpleNamespace(children=[inner, ("name", "c")], connector="AND", negated=False)
    assert meaning(outer) == AllOf((NotOf(AnyOf((A, B))), C))
    assert meaning(Q(name="a") & inner) == AllOf((A, NotOf(AnyOf((A, B)))))


def test_what_is_no_condition_is_refused() -> None:
    with pytest.raises(ValidationError, match="is no condition"):
        meaning("name")
    with pytest.raises(ValidationError, match="XOR is not supported"):
        meaning(SimpleNamespace(children=[("name", "a"), ("name", "b")], connector="XOR", negated=False))
    with pytest.raises(TypeError, match="is not a Q"):
        Q(name="a") & {"name": "b"}


def test_sort_keys() -> None:
    def key(name: str) -> Key:
        return query.sort_key(JOB_FIELDS, "BalsamJob", name)

    assert key("-priority") == Key("priority", (), True)
    assert key("pk") == Key("job_id")
    assert key("data__energy") == Key("data", ("energy",))
    for name, said in [("data", "has no order"), ("parents", "has no order"), ("?", "not a field"), ("-x", "not a")]:
        with pytest.raises(ValidationError, match=said):
            key(name)


def test_counts_are_taken_from_django_too() -> None:
    class Expression:
        name = "pk"

    class DjangoCount:
        def get_source_expressions(self) -> list[Any]:
            return [Expression()]

    DjangoCount.__name__ = "Count"
    assert counted_field(Count("name")) == "name"
    assert counted_field(DjangoCount()) == "pk"
    assert counted_field(len) is None
