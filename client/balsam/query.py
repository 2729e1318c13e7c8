"""Conditions and sort keys, checked against the fields there are: what a ``Q`` means.

Everything here is plain Python: an unknown field, lookup or value is refused before any service is contacted.
`balsam.filters` turns the result into messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from balsam.errors import ValidationError
from balsam.fields import Field, Kind, unknown_field
from balsam.q import is_q
from balsam.query_values import is_choice, is_part, lookups, passing_choices, values

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
        if path:
            return Test(field.name, path, "EXACT", (None,))  # a JSON null, not a missing key
        lookup, value = "isnull", True
    if field.kind is Kind.IDS and lookup == "exact" and value in ("", "[]", []):
        lookup, value = "isnull", True
    if lookup == "isnull":
        return _null(field, path, value)
    if is_choice(field) and is_part(lookup):
        passing = passing_choices(field, lookup, value)
        return Test(field.name, (), "IN", passing) if passing else NOTHING
    if lookup == "in" and hasattr(value, "_as_condition"):
        node: Node | None = value._as_condition(table, field.name)
        if node is not None:
            return node
    if field.kind is Kind.IDS and lookup in ("contains", "icontains"):
        lookup = "exact"
    compared = values(field, key, lookup, value)
    return Test(field.name, path, lookup.upper(), compared) if compared else NOTHING


def _split(field: Field, key: str, rest: list[str]) -> tuple[tuple[str, ...], str]:
    """The path into `data`, and the lookup."""
    valid = lookups(field)
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
    if field.kind is Kind.ID or is_choice(field):
        return NOTHING if value else EVERYTHING
    if field.kind is Kind.TEXT:
        # Text is never null in the store: what has not been given is empty.
        empty = Test(field.name, (), "EXACT", ("",))
        return empty if value else negation(empty)
    return Test(field.name, path, "ISNULL", (value,))


def column(table: Table, kind: str, name: str) -> Key:
    """A field, or a path into `data` such as ``data__energy``, as a column of a result.

    Raises:
        ValidationError: there is no such field, or it has no paths.
    """
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
