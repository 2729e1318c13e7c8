"""Queries: a filter tree over named fields, compiled to SQL against a whitelist. Pure: no connection is needed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from balsam.errors import ValidationError
from balsam.fields import (
    APPLICATION_FIELDS,
    CPU_AFFINITIES,
    JOB_FIELDS,
    LAUNCH_FIELDS,
    Field,
    Kind,
    check_id,
    unknown_field,
)
from balsam.states import State
from balsam_jobstore import schema
from balsam_jobstore.database import among
from balsam_jobstore.json_at import JsonAt
from balsam_jobstore.paging import SortKey
from balsam_jobstore.workflows import like_pattern, sqlite_glob

MAX_DEPTH = 30
MAX_TESTS = 2000
MAX_VALUES = 100_000
MAX_REGEX = 200
_MOST_JOINED = 100

Expression = sa.ColumnElement[Any]


@dataclass(frozen=True)
class Test:
    """A condition on one field; `op` is the name of the lookup in lower case."""

    field: str
    op: str
    values: tuple[Any, ...]
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Several conditions: `all`, `any`, or `not` of one."""

    kind: str
    members: tuple[Test | Group, ...] = ()


Node = Test | Group


@dataclass(frozen=True)
class Order:
    """A sort key."""

    field: str
    descending: bool = False
    path: tuple[str, ...] = ()


_job, _detail, _event, _edge = schema.job, schema.job_detail, schema.event, schema.edge

last_message = (
    sa.select(_event.c.message)
    .where(_event.c.job == _job.c.key)
    .order_by(_event.c.sequence.desc())
    .limit(1)
    .correlate(_job)
    .scalar_subquery()
)
last_node = sa.func.coalesce(
    sa.select(schema.node.c.name)
    .where(
        schema.node.c.key
        == sa.select(_event.c.node)
        .where(_event.c.job == _job.c.key, _event.c.node.is_not(None), _event.c.attempt == _job.c.attempt)
        .order_by(_event.c.sequence.desc())
        .limit(1)
        .correlate(_job)
        .scalar_subquery()
    )
    .correlate(_job)
    .scalar_subquery(),
    "",
)
_leased = _job.alias("leased")
_leased_keys = sa.select(_leased.c.key).where(_leased.c.session.is_not(None))
application_name = sa.func.coalesce(
    sa.select(schema.application.c.name)
    .where(schema.application.c.key == _job.c.application)
    .correlate(_job)
    .scalar_subquery(),
    "",
)

JOB_COLUMNS: dict[str, Expression] = {
    **{name: _job.c[name] for name in JOB_FIELDS if name in _job.c and name != "application"},
    **{name: _detail.c[name] for name in JOB_FIELDS if name in _detail.c},
    "application": application_name,
    "queued_launch": _job.c.launch,
    "working_directory": _detail.c.workdir,
    "create_time": _detail.c.create_us,
    "message": last_message,
    "node": last_node,
    "leased": sa.case((_job.c.session.is_not(None), 1), else_=0),
}
"""Field -> the expression that has its value."""

APPLICATION_COLUMNS: dict[str, Expression] = {
    **{name: schema.application.c[name] for name in APPLICATION_FIELDS if name in schema.application.c},
    "create_time": schema.application.c.create_us,
}
LAUNCH_COLUMNS: dict[str, Expression] = {
    **{name: schema.launch.c[name] for name in LAUNCH_FIELDS if name in schema.launch.c},
    "launch_id": schema.launch.c.key,
    "create_time": schema.launch.c.create_us,
}
_NULLABLE = {"exit_code", "queued_launch"}


@dataclass(frozen=True)
class Resource:
    """What can be queried: its fields, and where they are."""

    noun: str
    fields: Mapping[str, Field]
    columns: Mapping[str, Expression]
    key: sa.Column[Any]
    related: Mapping[str, Callable[[Expression], Expression]] = field(default_factory=dict)
    order: Sequence[Order] = ()
    """How it is sorted where nobody says; without any: in order of creation."""


def _with_parent(condition: Expression) -> Expression:
    parents = sa.select(_job.c.key).where(condition).correlate(None)
    return _job.c.key.in_(sa.select(_edge.c.child).where(_edge.c.parent.in_(parents)))


def _with_child(condition: Expression) -> Expression:
    children = sa.select(_job.c.key).where(condition).correlate(None)
    return _job.c.key.in_(sa.select(_edge.c.parent).where(_edge.c.child.in_(children)))


JOBS = Resource("a job", JOB_FIELDS, JOB_COLUMNS, _job.c.key, {"parents": _with_parent, "children": _with_child})
APPLICATIONS = Resource(
    "an application", APPLICATION_FIELDS, APPLICATION_COLUMNS, schema.application.c.key, order=(Order("name"),)
)
LAUNCHES = Resource("a launch", LAUNCH_FIELDS, LAUNCH_COLUMNS, schema.launch.c.key)


class Compiler:
    """Compiles filters, orders and page tokens of one resource for one kind of database."""

    def __init__(self, resource: Resource, *, sqlite: bool, lowering: str = "") -> None:
        """`lowering`: the collation by which PostgreSQL lowers letters beyond ASCII, if its own does not."""
        self._resource = resource
        self._sqlite = sqlite
        self._lowering = lowering
        self.used: set[str] = set()
        """Names of the fields that were compiled."""
        self.regex = ""
        """A regular expression that was compiled: what holds one must be bounded in time."""

    # Filters

    def where(self, node: Node) -> Expression:
        """The condition of a filter.

        Raises:
            ValidationError: a field, lookup or value is not valid; names it and the valid ones.
        """
        self._tests = 0
        return self._compile(node, 0)

    def _compile(self, node: Node, depth: int) -> Expression:
        self._tests += 1
        if depth > MAX_DEPTH or self._tests > MAX_TESTS:
            raise ValidationError(
                f"the filter is too large (at most {MAX_TESTS} tests, {MAX_DEPTH} levels)", field="filter"
            )
        if isinstance(node, Test):
            return self._test(node)
        members = [self._compile(member, depth + 1) for member in node.members]
        if node.kind == "all":
            return sa.and_(sa.true(), *_grouped(sa.and_, members))
        if node.kind == "any":
            return sa.or_(sa.false(), *_grouped(sa.or_, members))
        # As in Django: a row whose value is null does not match, so it matches the negation.
        return sa.not_(sa.func.coalesce(members[0], sa.false()))

    def column(self, name: str) -> Expression:
        """The expression of a field. Raises ValidationError for one that does not exist."""
        if name not in self._resource.columns:
            raise unknown_field(name, self._resource.fields, self._resource.noun)
        self.used.add(name)
        return self._resource.columns[name]

    def _test(self, test: Test) -> Expression:
        if test.op not in LOOKUPS:
            raise ValidationError(
                f"{test.op!r} is not a lookup (lookups: {', '.join(LOOKUPS)})",
                reason="UNKNOWN_LOOKUP",
                field=test.field,
            )
        _check_count(test)
        if test.field in self._resource.related:
            return self._related(test)
        if test.path:
            return self._json_test(test)
        column = self.column(test.field)
        self._check_lookup(test)
        if test.op == "isnull":
            return column.is_(None) if test.values[0] else column.is_not(None)
        if test.field == "job_id" and not self._sqlite and test.op not in ("exact", "in"):
            return self._uuid_test(test, column)
        values = [self._value(test, value) for value in test.values]
        found = self._lookup(test, column, values)
        if column is _job.c.state and test.op in ("exact", "in") and values == [int(State.RUNNING)]:
            # Whatever runs is leased, and of what is leased there is an index; one of RUNNING would cost every run.
            return sa.and_(_job.c.key.in_(_leased_keys), found)
        return found

    def _check_lookup(self, test: Test) -> None:
        spec = self._resource.fields[test.field]
        if spec.kind is Kind.JSON:
            raise ValidationError(f"name a key of {test.field}, as in {test.field}__energy__lt=0", field=test.field)
        valid = _CHOICE_LOOKUPS if spec.choices else _LOOKUPS_OF[spec.kind]
        if test.op not in valid:
            raise ValidationError(
                f"{test.field}__{test.op}: {test.field} can be tested with {', '.join(valid) or 'nothing'} only",
                reason="UNKNOWN_LOOKUP",
                field=test.field,
            )

    def _related(self, test: Test) -> Expression:
        if test.op == "isnull":
            keys = sa.select(_edge.c.child if test.field == "parents" else _edge.c.parent)
            inside = _job.c.key.in_(keys)
            return sa.not_(inside) if test.values[0] else inside
        if test.op not in ("exact", "in", "contains", "icontains") or test.path:
            raise ValidationError(
                f"{test.field} can be tested with exact, in and isnull only", reason="UNKNOWN_LOOKUP", field=test.field
            )
        ids = [check_id(value, test.field) for value in test.values]
        return self._resource.related[test.field](among(_job.c.job_id, ids, sqlite=self._sqlite))

    def _uuid_test(self, test: Test, column: Expression) -> Expression:
        return self._lookup(test, sa.cast(column, sa.Text), [self._value(test, value) for value in test.values])

    def _value(self, test: Test, value: Any) -> Any:
        """A value as the column holds it."""
        if test.op in _TEXT_LOOKUPS:
            return _text_value(test, value)
        spec = self._resource.fields[test.field]
        if value is None:
            if test.op not in ("exact", "in"):
                raise _bad_value(test, value, "a value; what has none is found with isnull")
            return None
        if spec.kind is Kind.STATE:
            return int(State[spec.check(value)])
        if spec.name == "cpu_affinity":
            return CPU_AFFINITIES.index(spec.check(value)) + 1
        if spec.kind is Kind.BOOLEAN:
            return int(spec.check(value))
        if spec.kind is Kind.ID:
            return spec.check(value) if test.op in ("exact", "in") else str(value)
        if spec.kind in (Kind.INTEGER, Kind.NUMBER, Kind.TIME, Kind.LAUNCH):
            return _number_value(test, value)
        return _text_value(test, value)

    def _lookup(self, test: Test, column: Expression, values: list[Any]) -> Expression:
        op = test.op
        if op in ("exact", "in"):
            if len(values) == 1 and op == "exact":
                return column.is_(None) if values[0] is None else column == values[0]
            return among(column, values, sqlite=self._sqlite)
        if op == "range":
            return column.between(values[0], values[1])
        if op in _COMPARISONS:
            return _COMPARISONS[op](column, values[0])
        return self._text_lookup(op, column, values[0], test)

    def _text_lookup(self, op: str, text: Expression, value: str, test: Test) -> Expression:
        if op == "regex":
            self.regex = _checked_regex(test, value)
            return sa.func.regexp(value, text) if self._sqlite else text.regexp_match(value)
        if op == "glob":
            return text.op("GLOB")(sqlite_glob(value)) if self._sqlite else text.like(like_pattern(value))
        wanted: Any = value
        if op.startswith("i"):
            op, text = op[1:], self._lower(text)
            value = value.lower()
            wanted = value if self._sqlite else self._lower(sa.literal(value))
        if op == "contains":
            return (sa.func.instr(text, wanted) if self._sqlite else sa.func.strpos(text, wanted)) > 0
        if op == "startswith":
            text = sa.func.substr(text, 1, len(value))
        if op == "endswith" and value:
            text = sa.func.substr(text, -len(value)) if self._sqlite else sa.func.right(text, len(value))
        elif op == "endswith":
            return text.is_not(None)
        return _equal(text, wanted)

    def _lower(self, text: Expression) -> Expression:
        return sa.func.lower(sa.collate(text, self._lowering) if self._lowering else text)

    # JSON paths

    def _json_at(self, name: str, path: Sequence[str]) -> JsonAt:
        column = self.column(name)
        if self._resource.fields[name].kind is not Kind.JSON:
            raise ValidationError(
                f"{name}__{repr(path[0])[1:-1]}: {name} holds no JSON, and {path[0]!r} is not a lookup "
                f"(lookups: {', '.join(LOOKUPS)})",
                reason="UNKNOWN_LOOKUP",
                field=name,
            )
        return JsonAt(column, path, sqlite=self._sqlite)

    def _json_test(self, test: Test) -> Expression:
        at = self._json_at(test.field, test.path)
        if test.op == "isnull":
            return at.kind.is_(None) if test.values[0] else at.kind.is_not(None)
        if test.op in _TEXT_LOOKUPS:
            return self._text_lookup(test.op, at.text, _text_value(test, test.values[0]), test)
        if test.op in ("exact", "in"):
            return self._json_equals(test, at)
        if test.op == "range":
            low, high = test.values
            return sa.and_(self._json_compare(test, "gte", at, low), self._json_compare(test, "lte", at, high))
        return self._json_compare(test, test.op, at, test.values[0])

    def _json_equals(self, test: Test, at: JsonAt) -> Expression:
        """Whether one of the values is there: true is not 1, and null is not a missing key."""
        texts = [_text_value(test, value) for value in test.values if isinstance(value, str)]
        numbers = [
            _number_value(test, v) for v in test.values if isinstance(v, (int, float)) and not isinstance(v, bool)
        ]
        conditions = [at.is_boolean(value) for value in (True, False) if any(v is value for v in test.values)]
        if any(value is None for value in test.values):
            conditions.append(at.kind == "null")
        if texts:
            conditions.append(among(at.text, texts, sqlite=self._sqlite))
        if numbers:
            conditions.append(among(at.number, numbers, sqlite=self._sqlite))
        return sa.or_(sa.false(), *conditions)

    def _json_compare(self, test: Test, op: str, at: JsonAt, value: Any) -> Expression:
        compare = _COMPARISONS[op]
        if isinstance(value, str):
            return compare(at.text, _text_value(test, value))
        if value is None or isinstance(value, bool):
            raise _bad_value(test, value, "a text or a number")
        return compare(at.number, at.bound_number(_number_value(test, value)))

    # Order and groups

    def order(self, orders: Sequence[Order]) -> list[SortKey]:
        """The sort keys; the key of the row comes last, in the place of `create_time` if that is asked for.

        Raises:
            ValidationError: a field does not exist, or has no order.
        """
        keys: list[SortKey] = []
        for order in orders:
            if order.field == "create_time" and not order.path:
                # Keys rise with creation, and have an index.
                return [*keys, SortKey(self._resource.key, order.descending)]
            keys.append(self._sort_key(order))
        return [*keys, SortKey(self._resource.key)]

    def _sort_key(self, order: Order) -> SortKey:
        if not order.path:
            return SortKey(self.plain_column(order.field), order.descending, order.field in _NULLABLE)
        at = self._json_at(order.field, order.path)
        return SortKey(at.sort_value, order.descending, nullable=True, json=True)

    def plain_column(self, name: str) -> Expression:
        """The expression of a field that can be sorted and grouped by. Raises ValidationError."""
        spec = self._resource.fields.get(name)
        if name in self._resource.related or (spec is not None and spec.kind in (Kind.JSON, Kind.ENVIRON)):
            raise ValidationError(f"{name} cannot be sorted or grouped by; name a plain field", field=name)
        return self.column(name)


def _check_count(test: Test) -> None:
    count = len(test.values)
    if test.op == "range" and count != 2:
        raise ValidationError(f"{test.field}__range needs two values, not {count}", field=test.field)
    if test.op not in ("range", "in") and count != 1:
        raise ValidationError(f"{test.field}__{test.op} needs one value, not {count}", field=test.field)
    if count > MAX_VALUES:
        raise ValidationError(f"{test.field}__in has more than {MAX_VALUES} values", field=test.field)


def _bad_value(test: Test, value: Any, wanted: str) -> ValidationError:
    return ValidationError(f"{test.field}__{test.op} = {value!r}: must be {wanted}", field=test.field)


def _text_value(test: Test, value: Any) -> str:
    if not isinstance(value, str):
        raise _bad_value(test, value, "a text")
    if "\0" in value:
        raise ValidationError(f"{test.field}__{test.op} = {value!r}: holds a NUL character", field=test.field)
    return value


def _number_value(test: Test, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise _bad_value(test, value, "a number")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise _bad_value(test, value, "a number of 64 bits")
    return value


def _checked_regex(test: Test, value: str) -> str:
    if len(value) > MAX_REGEX:
        raise ValidationError(f"a regular expression may have {MAX_REGEX} characters at most", field=test.field)
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValidationError(f"{value!r} is not a regular expression: {error}", field=test.field) from None
    return value


def _grouped(join: Callable[..., Expression], members: list[Expression]) -> list[Expression]:
    """Conditions in groups, where they are so many that a row of them is too deep for SQLite."""
    while len(members) > _MOST_JOINED:
        groups = [members[i : i + _MOST_JOINED] for i in range(0, len(members), _MOST_JOINED)]
        members = [sa.case((join(*group), 1), else_=0) == 1 for group in groups]
    return members


def _equal(a: Any, b: Any) -> Expression:
    result: Expression = a == b
    return result


_COMPARISONS: dict[str, Callable[[Any, Any], Expression]] = {
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
}
_TEXT_LOOKUPS = frozenset(
    {
        "iexact",
        "contains",
        "icontains",
        "startswith",
        "istartswith",
        "endswith",
        "iendswith",
        "regex",
        "glob",
    }
)
LOOKUPS = ("exact", "in", *_COMPARISONS, "range", "isnull", *sorted(_TEXT_LOOKUPS))
"""The lookups there are."""
_CHOICE_LOOKUPS = ("exact", "in", "isnull")
_ORDER_LOOKUPS = (*_CHOICE_LOOKUPS, *_COMPARISONS, "range")
_LOOKUPS_OF: dict[Kind, tuple[str, ...]] = {
    Kind.TEXT: LOOKUPS,
    Kind.ID: LOOKUPS,
    Kind.INTEGER: _ORDER_LOOKUPS,
    Kind.NUMBER: _ORDER_LOOKUPS,
    Kind.TIME: _ORDER_LOOKUPS,
    Kind.BOOLEAN: _CHOICE_LOOKUPS,
    Kind.STATE: _CHOICE_LOOKUPS,
    Kind.LAUNCH: _CHOICE_LOOKUPS,
    Kind.ENVIRON: (),
}
