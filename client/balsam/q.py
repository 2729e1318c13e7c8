"""Conditions as written by callers: ``Q`` and ``Count``, without any knowledge of fields."""

from __future__ import annotations

from typing import Any


class Q:
    """Conditions that can be combined: ``Q(state="FAILED") | ~Q(workflow="test")``.

    Has the shape of Django's ``Q``: `children` (pairs and further Qs), `connector`, `negated`.
    """

    AND = "AND"
    OR = "OR"

    def __init__(self, *args: Any, _connector: str = AND, _negated: bool = False, **kwargs: Any) -> None:
        self.children: list[Any] = [*args, *kwargs.items()]
        self.connector = _connector
        self.negated = _negated

    def _combined(self, other: Any, connector: str) -> Q:
        if not is_q(other):
            raise TypeError(f"{other!r} is not a Q")
        children: list[Any] = []
        for part in (self, other):
            # A run of the same connector stays one level, however long.
            flat = not part.negated and (part.connector == connector or len(part.children) < 2)
            children.extend(part.children if flat else [part])
        return Q(*children, _connector=connector)

    def __and__(self, other: Any) -> Q:
        return self._combined(other, self.AND)

    def __or__(self, other: Any) -> Q:
        return self._combined(other, self.OR)

    def __invert__(self) -> Q:
        return Q(self, _negated=True)

    def __eq__(self, other: object) -> bool:
        return is_q(other) and _shape(self) == _shape(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        parts = [f"{c[0]}={c[1]!r}" if isinstance(c, tuple) else repr(c) for c in self.children]
        sign = "~" if self.negated else ""
        return f"{sign}({f' {self.connector} '.join(parts)})"


def _shape(q: Any) -> tuple[Any, ...]:
    return (q.connector, bool(q.negated), list(q.children))


def is_q(value: object) -> bool:
    """Whether `value` has the shape of a Q, ours or Django's."""
    return all(hasattr(value, name) for name in ("children", "connector", "negated"))


class Count:
    """How many objects there are in each group: ``values("state").annotate(n=Count("pk"))``."""

    def __init__(self, field: str = "pk", distinct: bool = False) -> None:
        self.field = field
        self.distinct = distinct


def counted_field(value: Any) -> str | None:
    """Name of the field that a Count, ours or Django's, counts; None if `value` is no Count."""
    if isinstance(value, Count):
        return value.field
    if type(value).__name__ != "Count" or not hasattr(value, "get_source_expressions"):
        return None
    source = value.get_source_expressions()[0]
    return str(getattr(source, "name", "pk"))
