"""What is at a path in a JSON column, as expressions that compare and sort, for either database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from balsam.errors import ValidationError

MAX_PATH = 20
"""Parts of a path."""
_MOST_READINGS = 16

Expression = sa.ColumnElement[Any]


class JsonAt:
    """The value at a path. A key that is not there is SQL's null; JSON's null is a value, and sorts as if not there.

    Raises:
        ValidationError: a part of the path cannot be looked up.
    """

    def __init__(self, column: Expression, path: Sequence[str], *, sqlite: bool) -> None:
        _check_path(path)
        self._sqlite = sqlite
        if sqlite:
            paths = _sqlite_paths(path)
            self.kind = _first([sa.func.json_type(column, p) for p in paths])
            self._value = _first([sa.func.json_extract(column, p) for p in paths])
        else:
            keys = sa.cast(list(path), sa.ARRAY(sa.Text))
            self._value = column.op("#>", return_type=JSONB())(keys)
            self.kind = sa.func.jsonb_typeof(self._value)

    @property
    def sort_value(self) -> Expression:
        """For ORDER BY, and for what stands in page tokens."""
        return self._value if self._sqlite else sa.func.nullif(self._value, jsonb(None), type_=JSONB())

    @property
    def text(self) -> Expression:
        """The text there; null for everything else."""
        if self._sqlite:
            return sa.case((self.kind == "text", self._value), else_=None)
        return sa.case((self.kind == "string", self._unquoted()), else_=None)

    @property
    def number(self) -> Expression:
        """The number there; null for everything else."""
        if self._sqlite:
            return sa.case((self.kind.in_(["integer", "real"]), self._value), else_=None)
        return sa.case((self.kind == "number", sa.cast(self._unquoted(), sa.Numeric)), else_=None)

    def bound_number(self, value: float) -> Any:
        """A number to compare `number` with."""
        return value if self._sqlite else sa.cast(sa.literal(str(value)), sa.Numeric)

    def is_boolean(self, value: bool) -> Expression:
        """Whether true (or false) is there."""
        if self._sqlite:
            return self.kind == ("true" if value else "false")
        return self._value == jsonb(value)

    def _unquoted(self) -> Expression:
        return self._value.op("#>>", return_type=sa.Text())(sa.text("'{}'"))


def jsonb(value: Any) -> Expression:
    """A value of PostgreSQL's JSON. Raises ValueError for infinities and NaN."""
    return sa.cast(sa.literal(json.dumps(value, allow_nan=False)), JSONB)


def _check_path(path: Sequence[str]) -> None:
    if len(path) > MAX_PATH:
        raise ValidationError(f"a JSON path may have {MAX_PATH} parts at most, not {len(path)}", field="path")
    for part in path:
        if '"' in part or "\0" in part:
            what = "a quote" if '"' in part else "a NUL character"
            raise ValidationError(
                f"the key {part!r} of a JSON path holds {what}, which cannot be looked up", field="path"
            )


def _sqlite_paths(path: Sequence[str]) -> list[str]:
    """A path as SQLite writes it: digits are the key of an object or the index of a list, whichever is there."""
    paths = ["$"]
    for place, part in enumerate(path):
        key = f".{json.dumps(part, ensure_ascii=False)}"
        is_index = place > 0 and part.isascii() and part.isdecimal()
        paths = [before + step for before in paths for step in ((key, f"[{part}]") if is_index else (key,))]
    if len(paths) > _MOST_READINGS:
        raise ValidationError(f"the JSON path {'__'.join(path)!r} has too many numbers in it", field="path")
    return paths


def _first(values: Sequence[Expression]) -> Expression:
    return values[0] if len(values) == 1 else sa.func.coalesce(*values)
