"""The rows that a query has given, kept for as long as the query is."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from balsam.queryset import QuerySet

T = TypeVar("T")


class Results(Generic[T]):
    """What a query has given so far, and where the rest comes from."""

    def __init__(self, source: Iterator[T]) -> None:
        self.rows: list[T] = []
        self._source = source

    def has(self, number: int) -> bool:
        """Reads until there are `number` rows; whether there are."""
        missing = number - len(self.rows)
        if missing > 0:
            self.rows.extend(itertools.islice(self._source, missing))
        return len(self.rows) >= number

    def all(self) -> list[T]:
        """Reads everything."""
        self.rows.extend(self._source)
        return self.rows

    def __iter__(self) -> Iterator[T]:
        for number in itertools.count():
            if not self.has(number + 1):
                return
            yield self.rows[number]


def iterate(owner: weakref.ref[QuerySet[T]], same: QuerySet[T]) -> Iterator[T]:
    """The rows of a query; kept only if, when the first is asked for, somebody still holds the query."""
    kept = owner()
    rows: Iterable[T] = same._rows() if kept is None else kept._fetched()
    del kept
    yield from rows
