"""Conditions and sort keys, checked against the fields there are: what a ``Q`` means.

Everything here is plain Python: an unknown field, lookup or value is refused before any service is contacted.
`balsam.filters` turns the result into messages.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from balsam.errors import ValidationError
from balsam.fields import Field, Kind, check_id, unknown_field
from balsam.q import is_q

MAX_REGEX = 200
_MAX_INT64 = 2**63 - 1

Table = Mapping[str, Field]


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison. `op` is a name of ``balsam.v1.Test.Op``."""

    field: str
    path: tuple[str, ...]
    op: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds; without parts: always."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Some part holds; without parts: never."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class NotOf:
    """The part does not hold."""

    part: Node


Node = Test | AllOf | AnyOf | NotOf

EVERYTHING = AllOf(())
NOTHING = AnyOf(())


@dataclass(frozen=True, slots=True)
class Key:
    """A sort key, or a column of a result."""

    field: str
    path: tuple[str, ...] = ()
    descending: bool = False


_EQUAL = ("exact", "in", "isnull")
_ORDER = ("gt", "gte", "lt", "lte", "range")
_PARTS = ("iexact", "contains", "icontains", "startswith", "istartswith", "endswith", "iendswith", "regex", "glob")
_ORDERED = (*_EQUAL, *_ORDER)
_TEXT = (*_EQUAL, *_ORDER, *_PARTS)

LOOKUPS: Mapping[Kind, tuple[str, ...]] = {
    Kind.TEXT: _TEXT,
    Kind.ID: _TEXT,
    Kind.STATE: _TEXT,
    Kind.JSON: _TEXT,
    Kind.INTEGER: _ORDERED,
    Kind.NUMBER: _ORDERED,
    Kind.TIME: _ORDERED,
    Kind.BOOLEAN: _EQUAL,
    Kind.IDS: ("exact", "contains", "icontains", "in"),
    Kind.ENVIRON: (),
}
"""The lookups of each kind of field."""

CHILDREN = Field("children", Kind.IDS, [], "ids of the jobs that depend on it")


def all_of(nodes: Iterable[Node]) -> Node:
    """Every one of `nodes`."""
    parts: list[Node] = []
    for node in nodes:
        if node == NOTHING:
            return NOTHING
        parts.extend(node.parts if isinstance(node, AllOf) else (node,))
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def any_of(nodes: Iterable[Node]) -> Node:
    """At least one of `nodes`."""
    parts: list[Node] = []
    for node in nodes:
        if node == EVERYTHING:
            return EVERYTHING
        parts.extend(node.parts if isinstance(node, AnyOf) else (node,))
    return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))


def negation(node: Node) -> Node:
    """Not `node`."""
    if node in (EVERYTHING, NOTHING):
        return NOTHING if node == EVERYTHING else EVERYTHING
    return node.part if isinstance(node, NotOf) else NotOf(node)


def conditions(table: Table, kind: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Node:
    """What ``filter(*args, **kwargs)`` asks for.

    Raises:
        ValidationError: a field or lookup does not exist, or a value does not fit.
    """
    children = [*args, *kwargs.items()]
    try:
        return all_of([_from_child(table, kind, child) for child in children])
    except RecursionError:
        raise ValidationError("the conditions are nested too deeply") from None


def _from_child(table: Table, kind: str, child: Any) -> Node:
    if isinstance(child, (tuple, list)) and len(child) == 2 and isinstance(child[0], str):
        return condition(table, kind, child[0], child[1])
    if not is_q(child):
        raise ValidationError(f"{child!r} is no condition; write FIELD__LOOKUP=VALUE or Q(FIELD__LOOKUP=VALUE)")
    if not child.children:
        return EVERYTHING
    if child.connector not in ("AND", "OR"):
        raise ValidationError(f"Q joined by {child.connector} is not supported; use & and |")
    parts = [_from_child(table, kind, part) for part in child.children]
    node = all_of(parts) if child.connector == "AND" else any_of(parts)
    return negation(node) if child.negated and node != EVERYTHING else node


def find(table: Table, kind: str, name: str) -> Field:
    """A field by name; ``pk`` is the identity.

    Raises:
        ValidationError: there is no such field.
    """
    if name == "pk":
        name = next(iter(table))
    if name == "children" and "parents" in table:
        return CHILDREN
    field = table.get(name)
    if field is None:
        raise unknown_field(name, table, kind)
    return field


def condition(table: Table, kind: str, key: str, value: Any) -> Node:
    """What ``filter(key=value)`` asks for."""
    name, *rest = key.split("__")
    field = find(table, kind, name)
    path, lookup = _split(field, key, rest)
    if value is None and lookup == "exact":
        lookup, value = "isnull", True
    if lookup == "isnull":
        return _null(field, path, value)
    if lookup == "in" and hasattr(value, "_as_condition"):
        node: Node | None = value._as_condition(table, field.name)
        if node is not None:
            return node
    if field.kind is Kind.IDS and lookup in ("contains", "icontains"):
        lookup = "exact"
    values = _values(field, key, lookup, value)
    return Test(field.name, path, lookup.upper(), values) if values else NOTHING


def _split(field: Field, key: str, rest: list[str]) -> tuple[tuple[str, ...], str]:
    """The path into `data`, and the lookup."""
    valid = LOOKUPS[field.kind]
    if not valid:
        raise _bad_lookup(key, f"{field.name} cannot be queried")
    if field.kind is Kind.JSON:
        lookup = rest.pop() if len(rest) > 1 and rest[-1] in valid else "exact"
        if not rest or "" in rest:
            raise _bad_lookup(key, f"name a key of {field.name}, as in {field.name}__energy__lt=0")
        return tuple(rest), lookup
    if not rest:
        return (), "exact"
    if len(rest) > 1 or rest[0] not in valid:
        lookup = "__".join(rest)
        raise _bad_lookup(key, f"{lookup!r} is not a lookup of {field.name} (lookups: {', '.join(valid)})")
    return (), rest[0]


def _bad_lookup(key: str, what: str) -> ValidationError:
    return ValidationError(f"{key}: {what}", reason="UNKNOWN_LOOKUP", field=key.split("__")[0])


def _null(field: Field, path: tuple[str, ...], value: Any) -> Node:
    if not isinstance(value, bool):
        raise field.error(value, "isnull takes true or false")
    if field.kind in (Kind.TEXT, Kind.ID, Kind.STATE) and not path:
        # Text is never null in the store: what has not been given is empty.
        empty = Test(field.name, (), "EXACT", ("",))
        return empty if value else negation(empty)
    return Test(field.name, path, "ISNULL", (value,))


def _values(field: Field, key: str, lookup: str, value: Any) -> tuple[Any, ...]:
    convert = _text if lookup in _PARTS and field.kind is not Kind.IDS else _CONVERT[field.kind]
    if lookup not in ("in", "range"):
        if lookup == "regex":
            value = getattr(value, "pattern", value)
            _check_regex(field, value)
        return (convert(field, value),)
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise field.error(value, f"{key} takes a list")
    values = tuple(convert(field, item) for item in value)
    if lookup == "range" and len(values) != 2:
        raise field.error(value, f"{key} takes two values, the least and the greatest")
    return values


def _check_regex(field: Field, value: Any) -> None:
    if not isinstance(value, str):
        raise field.error(value, "a regular expression is a text")
    if len(value) > MAX_REGEX:
        raise field.error(value, f"a regular expression has at most {MAX_REGEX} characters")
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise field.error(value, f"is not a regular expression: {error}") from None


def _text(field: Field, value: Any) -> str:
    if field.kind is Kind.ID and hasattr(value, "hex"):
        value = str(value)
    if not isinstance(value, str):
        raise field.error(value, "must be a text")
    if "\0" in value:
        raise field.error(value, "holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise field.error(value, "holds a lone surrogate, which is no text") from None
    return value


def _id(field: Field, value: Any) -> str:
    return check_id(getattr(value, "job_id", value), field.name)


def _number(field: Field, value: Any) -> int | float:
    if isinstance(value, str):
        return _number(field, _parsed(field, value))
    if isinstance(value, bool):
        raise field.error(value, "must be a number")
    if hasattr(value, "__index__"):
        value = int(value)
        if abs(value) > _MAX_INT64:
            raise field.error(value, "is too large a number")
        return int(value)
    if not hasattr(value, "__float__"):
        raise field.error(value, "must be a number")
    number = float(value)
    if math.isnan(number):
        raise field.error(value, "is not a number")
    return number


def _parsed(field: Field, value: str) -> int | float:
    for parse in (int, float):
        try:
            return parse(value)
        except ValueError:
            continue
    raise field.error(value, "must be a number")


def _time(field: Field, value: Any) -> datetime:
    """A time; one without a time zone is local time, as in Python itself."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise field.error(value, "must be a time, as in 2030-12-31T23:59:59Z") from None
    elif not isinstance(value, datetime) and hasattr(value, "timetuple"):
        value = datetime(*value.timetuple()[:3])
    if not isinstance(value, datetime):
        raise field.error(value, "must be a datetime")
    try:
        return value.astimezone(UTC)
    except (OverflowError, ValueError, OSError):
        raise field.error(value, "is out of range") from None


def _json_value(field: Field, value: Any) -> Any:
    if isinstance(value, str):
        return _text(field, value)
    if isinstance(value, bool):
        return value
    if isinstance(value, (Mapping, list, tuple)) or value is None:
        raise field.error(value, "data is compared with texts, numbers, true and false")
    return _number(field, value)


def _checked(field: Field, value: Any) -> Any:
    return field.check(value)


_CONVERT: dict[Kind, Callable[[Field, Any], Any]] = {
    Kind.TEXT: _text,
    Kind.ID: _id,
    Kind.IDS: _id,
    Kind.STATE: _checked,
    Kind.BOOLEAN: _checked,
    Kind.INTEGER: _number,
    Kind.NUMBER: _number,
    Kind.TIME: _time,
    Kind.JSON: _json_value,
}


def column(table: Table, kind: str, name: str) -> Key:
    """A field, or a path into `data` such as ``data__energy``, as a column of a result."""
    first, *rest = name.split("__")
    field = find(table, kind, first)
    if field is CHILDREN:
        raise unknown_field(first, table, kind)
    if rest and (field.kind is not Kind.JSON or "" in rest):
        raise unknown_field(name, table, kind)
    return Key(field.name, tuple(rest))


_UNSORTED = (Kind.JSON, Kind.IDS, Kind.ENVIRON)


def sort_key(table: Table, kind: str, name: str) -> Key:
    """What ``order_by(name)`` asks for; a leading ``-``: largest first.

    Raises:
        ValidationError: there is no such field, or it has no order.
    """
    descending = name.startswith("-")
    key = column(table, kind, name.lstrip("-+"))
    if table[key.field].kind in _UNSORTED and not key.path:
        raise ValidationError(f"order_by({name!r}): {key.field} has no order", field=key.field)
    return Key(key.field, key.path, descending)
