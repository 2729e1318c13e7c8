"""What queries mean, in plain Python: the model that both databases are held against."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from balsam_jobstore.query import Node, Order, Test

MISSING = object()
"""The value of a key that is not there, which is something else than null."""

Jobs = list[dict[str, Any]]


def holds(node: Node, job: Mapping[str, Any]) -> bool:
    """Whether a job matches; what compares with nothing does not match."""
    if isinstance(node, Test):
        return _test(node, job)
    members = [holds(member, job) for member in node.members]
    if node.kind == "not":
        return not members[0]
    return all(members) if node.kind == "all" else any(members)


def value_of(job: Mapping[str, Any], field: str, path: tuple[str, ...]) -> Any:
    """The value of a field, or what is at a path in it."""
    value = job[field]
    for part in path:
        if isinstance(value, dict):
            value = value.get(part, MISSING)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value


def _test(test: Test, job: Mapping[str, Any]) -> bool:
    value = value_of(job, test.field, test.path)
    if test.field in ("parents", "children"):
        return bool(value) != test.values[0] if test.op == "isnull" else not set(test.values).isdisjoint(value)
    if test.op == "isnull":
        nothing = value is MISSING if test.path else value is None
        return nothing is bool(test.values[0])
    if value is MISSING:
        return False
    if test.op == "in":
        return any(_same(value, wanted) for wanted in test.values)
    if test.op == "range":
        return _LOOKUPS["gte"](value, test.values[0]) and _LOOKUPS["lte"](value, test.values[1])
    if test.op == "exact":
        return _same(value, test.values[0])
    return _LOOKUPS[test.op](value, test.values[0])


def _same(a: Any, b: Any) -> bool:
    """Equality of JSON values: true is not 1, but 1 is 1.0."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def lookup(value: Any, wanted: Any) -> bool:
        numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in (value, wanted))
        return (numbers or (isinstance(value, str) and isinstance(wanted, str))) and compare(value, wanted)

    return lookup


def _text(compare: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, wanted: isinstance(value, str) and compare(value, wanted)


def _caseless(compare: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    return _text(lambda value, wanted: compare(value.lower(), wanted.lower()))


def _glob(value: str, pattern: str) -> bool:
    parts = [{"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern]
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None


_LOOKUPS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": _ordered(lambda a, b: a > b),
    "gte": _ordered(lambda a, b: a >= b),
    "lt": _ordered(lambda a, b: a < b),
    "lte": _ordered(lambda a, b: a <= b),
    "contains": _text(lambda a, b: b in a),
    "startswith": _text(str.startswith),
    "endswith": _text(str.endswith),
    "iexact": _caseless(str.__eq__),
    "icontains": _caseless(lambda a, b: b in a),
    "istartswith": _caseless(str.startswith),
    "iendswith": _caseless(str.endswith),
    "glob": _text(_glob),
    "regex": _text(lambda a, b: re.search(b, a) is not None),
}


def ordered(jobs: Jobs, *orders: Order) -> Jobs:
    """Jobs in the order asked for; null comes first, equal ones in the order of creation."""
    found = list(jobs)
    for order in reversed(orders):

        def key(job: dict[str, Any], order: Order = order) -> tuple[bool, Any]:
            value = value_of(job, order.field, order.path)
            nothing = value is None or value is MISSING
            return (not nothing, 0 if nothing else value)

        found.sort(key=key)
        if order.descending:  # a reversed sort would turn equal ones round
            groups: dict[Any, Jobs] = {}
            for job in found:
                groups.setdefault(key(job), []).append(job)
            found = [job for group in reversed(groups.values()) for job in group]
    return found
