"""What ``values``, ``values_list``, ``distinct`` and ``annotate`` make of the values of objects. No I/O."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from balsam.attributes import environ_text
from balsam.errors import ValidationError
from balsam.fields import Kind
from balsam.query import Key, Table, column

_GROUPABLE = frozenset({Kind.TEXT, Kind.STATE, Kind.INTEGER, Kind.NUMBER, Kind.BOOLEAN, Kind.LAUNCH})
_NULLABLE = frozenset({"exit_code", "queued_launch"})


class Shape(enum.Enum):
    """What a row is."""

    DICT = "dict"
    TUPLE = "tuple"
    FLAT = "flat"


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a result: fields, or paths into `data`, then counts."""

    table: Table
    kind: str
    shape: Shape
    names: tuple[str, ...]
    keys: tuple[Key, ...]
    counts: tuple[str, ...] = ()

    @classmethod
    def of(cls, table: Table, kind: str, shape: Shape, names: Sequence[str]) -> Columns:
        """The columns with these names; without names: every field.

        Raises:
            ValidationError: there is no such field.
        """
        names = tuple(names) or tuple(table)
        return cls(table, kind, shape, names, tuple(column(table, kind, name) for name in names))

    def with_counts(self, counts: Mapping[str, str]) -> Columns:
        """With the number of objects as further columns: name of the column -> field that is counted.

        Raises:
            ValidationError: these columns cannot be counted by.
        """
        for alias, field in counts.items():
            key = column(self.table, self.kind, field)
            if key.path or key.field in _NULLABLE or alias in self.names:
                raise ValidationError(f"annotate({alias}=Count({field!r})): count pk instead, under a new name")
        for key in self.keys:
            if not self._groupable(key):
                raise ValidationError(f"annotate cannot count by {key.field}", field=key.field)
        return replace(self, counts=(*self.counts, *counts))

    def _groupable(self, key: Key) -> bool:
        return not key.path and self.table[key.field].kind in _GROUPABLE

    def can_group(self, order: Iterable[Key]) -> bool:
        """Whether the store can count by these columns, and the groups can be sorted so."""
        fields = {key.field for key in self.keys}
        return all(map(self._groupable, self.keys)) and all(key.field in fields for key in order)

    def fields(self) -> list[str]:
        """The fields that must be read for these columns."""
        return list(dict.fromkeys(key.field for key in self.keys))

    def rows(self, values: Iterable[Mapping[str, Any]], distinct: bool = False) -> Iterator[Any]:
        """The rows for the values of objects; with `distinct` each different one once."""
        seen = set()
        for mapping in values:
            row = tuple(self._cells(mapping))
            if distinct:
                mark = repr(row)
                if mark in seen:
                    continue
                seen.add(mark)
            yield self._shaped(row)

    def _cells(self, values: Mapping[str, Any]) -> Iterator[Any]:
        data: Any = None
        for key in self.keys:
            if self.table[key.field].kind is Kind.JSON:
                data = data if data is not None else json.loads(values.get(key.field) or "{}")
                yield walk(data, key.path)
            else:
                yield cell(self.table, key.field, values)

    def _shaped(self, row: tuple[Any, ...]) -> Any:
        if self.shape is Shape.DICT:
            return dict(zip((*self.names, *self.counts), row, strict=True))
        return row[0] if self.shape is Shape.FLAT else row

    def group_rows(
        self, groups: Iterable[tuple[tuple[Any, ...], int]], order: Sequence[tuple[str, bool]]
    ) -> Iterator[Any]:
        """The rows for counted groups, sorted by names of columns (True: largest first)."""
        rows = [(*values, *(count for _ in self.counts)) for values, count in groups]
        places = (*self.names, *self.counts)
        fields = (*(key.field for key in self.keys), *self.counts)
        for name, descending in reversed(order or [(name, False) for name in self.names]):
            place = places.index(name) if name in places else fields.index(name)
            rows.sort(key=lambda row, i=place: (row[i] is not None, row[i]), reverse=descending)  # type: ignore[misc]
        return map(self._shaped, rows)


def walk(data: Any, path: Iterable[str]) -> Any:
    """What is at a path of keys and indexes; None where there is nothing."""
    for step in path:
        if isinstance(data, Mapping):
            data = data.get(step)
        elif isinstance(data, list) and step.isdigit() and int(step) < len(data):
            data = data[int(step)]
        else:
            return None
    return data


def cell(table: Table, name: str, values: Mapping[str, Any]) -> Any:
    """A field as callers see it."""
    field = table[name]
    value = values.get(name, field.default)
    if field.kind is Kind.ID:
        import uuid

        return uuid.UUID(value)
    if field.kind is Kind.ENVIRON:
        return environ_text(value)
    return list(value) if field.kind is Kind.IDS else value
