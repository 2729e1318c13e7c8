"""Conditions as messages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import text_format

from balsam import query
from balsam.errors import ValidationError
from balsam.fields import JOB_FIELDS
from balsam.filters import MAX_DEPTH, filter_message, order_messages, value_message, value_of
from balsam.job_calls import selector_message
from balsam.q import Q
from balsam.query import EVERYTHING, NOTHING, Key


def text(*args: Any, **kwargs: Any) -> str:
    node = query.conditions(JOB_FIELDS, "BalsamJob", args, kwargs)
    return text_format.MessageToString(filter_message(node), as_one_line=True)


def test_a_tree_of_conditions() -> None:
    assert text(Q(name="a") | ~Q(data__x__gt=2), num_nodes__range=(1, 2)) == (
        'all { filters { any { filters { test { field: "name" op: EXACT values { text: "a" } } } '
        'filters { not { test { field: "data" path: "x" op: GT values { integer: 2 } } } } } } '
        'filters { test { field: "num_nodes" op: RANGE values { integer: 1 } values { integer: 2 } } } }'
    )


def test_what_always_and_never_holds() -> None:
    assert filter_message(EVERYTHING).WhichOneof("kind") is None
    assert filter_message(NOTHING).WhichOneof("kind") == "any"


def test_everything_is_still_said_explicitly_where_jobs_are_selected() -> None:
    assert selector_message(EVERYTHING).WhichOneof("kind") == "filter"
    assert selector_message(["x"]).WhichOneof("kind") == "ids"


@pytest.mark.parametrize("value", [None, True, False, 0, -(2**63), 1.5, "x", "", datetime(2030, 1, 2, 3, 4, 5, 6, UTC)])
def test_values_come_back(value: Any) -> None:
    back = value_of(value_message(value))
    assert back == value
    assert type(back) is type(value)


def test_conditions_nested_too_deeply_are_refused_before_they_are_sent() -> None:
    q = Q(name="a")
    for number in range(MAX_DEPTH + 2):
        q = (q & Q(num_nodes=number)) if number % 2 else (q | Q(num_nodes=number))
    with pytest.raises(ValidationError, match="at most 30 deep"):
        text(q)


def test_sort_keys() -> None:
    first, second = order_messages([Key("priority", (), True), Key("data", ("a", "0"))])
    assert (first.field, first.descending) == ("priority", True)
    assert (second.field, list(second.path), second.descending) == ("data", ["a", "0"], False)
