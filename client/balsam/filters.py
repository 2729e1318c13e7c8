"""Conditions and sort keys as messages of ``query.proto``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from balsam.errors import ValidationError
from balsam.query import AllOf, AnyOf, Key, Node, NotOf, Test
from balsam.v1 import query_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


MAX_DEPTH = 30
"""Levels of conditions in conditions that the job store takes."""


def filter_message(node: Node, depth: int = 0) -> query_pb2.Filter:
    """The message of a condition. What always holds is the empty filter.

    Raises:
        ValidationError: the conditions are nested more than `MAX_DEPTH` deep.
    """
    if depth > MAX_DEPTH:
        raise ValidationError(f"a query nests conditions at most {MAX_DEPTH} deep")
    match node:
        case Test():
            return query_pb2.Filter(test=_test_message(node))
        case NotOf(part):
            return query_pb2.Filter(**{"not": filter_message(part, depth + 1)})  # type: ignore[arg-type]
        case AllOf(()):
            return query_pb2.Filter()
        case AllOf(parts):
            return query_pb2.Filter(all=_group(parts, depth))
        case AnyOf(parts):
            return query_pb2.Filter(any=_group(parts, depth))


def _group(parts: Iterable[Node], depth: int) -> query_pb2.Filter.Group:
    return query_pb2.Filter.Group(filters=[filter_message(part, depth + 1) for part in parts])


def _test_message(test: Test) -> query_pb2.Test:
    return query_pb2.Test(
        field=test.field,
        path=test.path,
        op=query_pb2.Test.Op.Value(test.op),
        values=[value_message(value) for value in test.values],
    )


def value_message(value: Any) -> query_pb2.Value:
    """The message of a text, number, truth value, time or None."""
    match value:
        case None:
            return query_pb2.Value()
        case bool():
            return query_pb2.Value(boolean=value)
        case str():
            return query_pb2.Value(text=value)
        case int():
            return query_pb2.Value(integer=value)
        case datetime():
            return query_pb2.Value(time_us=(value - _EPOCH) // _MICROSECOND)
        case _:
            return query_pb2.Value(number=value)


def value_of(message: query_pb2.Value) -> Any:
    """What a message stands for."""
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    value = getattr(message, kind)
    return _EPOCH + value * _MICROSECOND if kind == "time_us" else value


def order_messages(keys: Iterable[Key]) -> list[query_pb2.OrderBy]:
    """The messages of sort keys."""
    return [query_pb2.OrderBy(field=k.field, path=k.path, descending=k.descending) for k in keys]
