"""Rows of values, without a store."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from balsam.errors import ValidationError
from balsam.fields import JOB_FIELDS
from balsam.ids import new_id
from balsam.query import Key
from balsam.rows import Columns, Shape, walk

ID = new_id()
VALUES: list[dict[str, Any]] = [
    {"job_id": ID, "name": "a", "data": '{"e": 1.5, "l": [{"k": "v"}]}'},
    {"job_id": ID, "name": "a", "environ_vars": {"A": "1"}},
]


def columns(*names: str, shape: Shape = Shape.TUPLE) -> Columns:
    return Columns.of(JOB_FIELDS, "BalsamJob", shape, names)


def test_fields_and_paths_into_data() -> None:
    wanted = columns("pk", "name", "data__e", "data__l__0__k", "num_nodes", "environ_vars")
    assert list(wanted.rows(VALUES)) == [
        (uuid.UUID(ID), "a", 1.5, "v", 1, ""),
        (uuid.UUID(ID), "a", None, None, 1, "A=1"),
    ]
    assert wanted.fields() == ["job_id", "name", "data", "num_nodes", "environ_vars"]


def test_shapes() -> None:
    assert list(columns("name", "data__e", shape=Shape.DICT).rows(VALUES)) == [
        {"name": "a", "data__e": 1.5},
        {"name": "a", "data__e": None},
    ]
    assert list(columns("name", shape=Shape.FLAT).rows(VALUES)) == ["a", "a"]
    assert next(columns(shape=Shape.DICT).rows(VALUES)).keys() == JOB_FIELDS.keys()


def test_equal_rows_come_once() -> None:
    assert list(columns("name").rows(VALUES, distinct=True)) == [("a",)]
    assert len(list(columns("name", "data").rows(VALUES, distinct=True))) == 2


def test_groups_are_sorted_by_any_column() -> None:
    groups = [(("b", 1), 2), (("a", 2), 2), (("c", None), 9)]
    counted = columns("name", "num_nodes", shape=Shape.DICT).with_counts({"n": "pk"})
    assert [row["name"] for row in counted.group_rows(groups, [])] == ["a", "b", "c"]
    assert [row["name"] for row in counted.group_rows(groups, [("n", True), ("name", False)])] == ["c", "a", "b"]
    assert [row["name"] for row in counted.group_rows(groups, [("num_nodes", False)])] == ["c", "b", "a"]
    assert next(counted.group_rows(groups, [])) == {"name": "a", "num_nodes": 2, "n": 2}


@pytest.mark.parametrize("name", ["job_id", "data__e", "parents", "create_time"])
def test_what_cannot_be_counted_by(name: str) -> None:
    assert not columns(name).can_group([])
    with pytest.raises(ValidationError, match="cannot count by"):
        columns(name).with_counts({"n": "pk"})


def test_groups_are_sorted_by_their_own_columns_only() -> None:
    assert columns("name").can_group([Key("name")])
    assert not columns("name").can_group([Key("priority")])


def test_counts_of_what_may_be_null_and_names_that_are_taken_are_refused() -> None:
    for counts in ({"n": "exit_code"}, {"name": "pk"}, {"n": "data__x"}):
        with pytest.raises(ValidationError, match="count pk instead"):
            columns("name").with_counts(counts)


@pytest.mark.parametrize("name", ["nmae", "children", "name__x", "data____x"])
def test_unknown_columns_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="not a field"):
        columns(name)


def test_walking_into_json() -> None:
    data = {"a": [10, {"b": None}], "0": "zero"}
    assert walk(data, ("a", "0")) == 10
    assert walk(data, ("0",)) == "zero"
    for path in (("a", "7"), ("a", "x"), ("a", "1", "b", "c"), ("z",)):
        assert walk(data, path) is None
