"""Queries: a filter tree over named fields, compiled to SQL against a whitelist. Pure: no connection is needed."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from balsam.errors import ValidationError
from balsam.fields import APPLICATION_FIELDS, CPU_AFFINITIES, JOB_FIELDS, Field, Kind, check_id, unknown_field
from balsam.states import State
from balsam_jobstore import schema
from balsam_jobstore.workflows import like_pattern, sqlite_glob

MAX_DEPTH = 30
MAX_TESTS = 2000
MAX_VALUES = 100_000
MAX_REGEX = 200

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
    "working_directory": _detail.c.workdir,
    "create_time": _detail.c.create_us,
    "message": last_message,
    "leased": sa.case((_job.c.session.is_not(None), 1), else_=0),
}
"""Field -> the expression that has its value."""

APPLICATION_COLUMNS: dict[str, Expression] = {
    **{name: schema.application.c[name] for name in APPLICATION_FIELDS if name in schema.application.c},
    "create_time": schema.application.c.create_us,
}
_NULLABLE = {"exit_code"}


@dataclass(frozen=True)
class Resource:
    """What can be queried: its fields, and where they are."""

    noun: str
    fields: Mapping[str, Field]
    columns: Mapping[str, Expression]
    key: sa.Column[Any]
    related: Mapping[str, Callable[[Sequence[str]], Expression]] = field(default_factory=dict)


def _with_parent(ids: Sequence[str]) -> Expression:
    parents = sa.select(_job.c.key).where(_job.c.job_id.in_(ids)).correlate(None)
    return _job.c.key.in_(sa.select(_edge.c.child).where(_edge.c.parent.in_(parents)))


def _with_child(ids: Sequence[str]) -> Expression:
    children = sa.select(_job.c.key).where(_job.c.job_id.in_(ids)).correlate(None)
    return _job.c.key.in_(sa.select(_edge.c.parent).where(_edge.c.child.in_(children)))


JOBS = Resource("a job", JOB_FIELDS, JOB_COLUMNS, _job.c.key, {"parents": _with_parent, "children": _with_child})
APPLICATIONS = Resource("an application", APPLICATION_FIELDS, APPLICATION_COLUMNS, schema.application.c.key)


class Compiler:
    """Compiles filters, orders and page tokens of one resource for one kind of database."""

    def __init__(self, resource: Resource, *, sqlite: bool) -> None:
        self._resource = resource
        self._sqlite = sqlite
        self.used: set[str] = set()
        """Names of the fields that were compiled."""

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
            return sa.and_(sa.true(), *members)
        if node.kind == "any":
            return sa.or_(sa.false(), *members)
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
        column = self.column(test.field)
        if test.path:
            return self._json_test(test, column)
        if test.op == "isnull":
            return column.is_(None) if test.values[0] else column.is_not(None)
        if test.field == "job_id" and not self._sqlite and test.op not in ("exact", "in"):
            return self._uuid_test(test, column)
        return self._lookup(test, column, [self._value(test, value) for value in test.values])

    def _related(self, test: Test) -> Expression:
        if test.op == "isnull":
            keys = sa.select(_edge.c.child if test.field == "parents" else _edge.c.parent)
            inside = _job.c.key.in_(keys)
            return sa.not_(inside) if test.values[0] else inside
        if test.op not in ("exact", "in", "contains", "icontains"):
            raise ValidationError(f"{test.field} can be tested with exact, in and isnull only", field=test.field)
        return self._resource.related[test.field]([check_id(value, test.field) for value in test.values])

    def _uuid_test(self, test: Test, column: Expression) -> Expression:
        return self._lookup(test, sa.cast(column, sa.Text), [str(value) for value in test.values])

    def _value(self, test: Test, value: Any) -> Any:
        """A value as the column holds it."""
        if test.op in _TEXT_LOOKUPS:
            if not isinstance(value, str):
                raise _bad_value(test, value, "a text")
            return value
        spec = self._resource.fields[test.field]
        if value is None:
            return None
        if spec.kind is Kind.STATE:
            return int(State[spec.check(value)])
        if spec.name == "cpu_affinity":
            return CPU_AFFINITIES.index(spec.check(value)) + 1
        if spec.kind is Kind.BOOLEAN:
            return int(spec.check(value))
        if spec.kind is Kind.ID:
            return spec.check(value) if test.op in ("exact", "in") else str(value)
        wanted: tuple[type, ...] = (int, float) if spec.kind in (Kind.INTEGER, Kind.NUMBER, Kind.TIME) else (str,)
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise _bad_value(test, value, "a text" if str in wanted else "a number")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise _bad_value(test, value, "a number of 64 bits")
        return value

    def _lookup(self, test: Test, column: Expression, values: list[Any]) -> Expression:
        op = test.op
        if op in ("exact", "in"):
            if len(values) == 1 and op == "exact":
                return column.is_(None) if values[0] is None else column == values[0]
            return column.in_(values)
        if op == "range":
            return column.between(values[0], values[1])
        if op in _COMPARISONS:
            return _COMPARISONS[op](column, values[0])
        if test.field == "state":
            raise ValidationError(f"state can be tested with exact, in and isnull only, not {op}", field="state")
        text = column if isinstance(column.type, (sa.Text, sa.String)) else sa.cast(column, sa.Text)
        return self._text_lookup(op, text, values[0], test)

    def _text_lookup(self, op: str, text: Expression, value: str, test: Test) -> Expression:
        if op == "regex":
            if len(value) > MAX_REGEX:
                raise ValidationError(f"a regular expression may have {MAX_REGEX} characters at most", field=test.field)
            return sa.func.regexp(value, text) if self._sqlite else text.op("~")(value)
        if op == "glob":
            return text.op("GLOB")(sqlite_glob(value)) if self._sqlite else text.like(like_pattern(value))
        if op.startswith("i"):
            op, text, value = op[1:], sa.func.lower(text), value.lower()
        if op == "exact":
            return text == value
        if op == "contains":
            return (sa.func.instr(text, value) if self._sqlite else sa.func.strpos(text, value)) > 0
        if op == "startswith":
            return sa.func.substr(text, 1, len(value)) == value
        if not value:
            return text.is_not(None)
        return (sa.func.substr(text, -len(value)) if self._sqlite else sa.func.right(text, len(value))) == value

    # JSON paths

    def json_value(self, column: Expression, path: Sequence[str]) -> Expression:
        """The JSON value at a path, in a form that compares and sorts."""
        if self._sqlite:
            return sa.func.json_extract(column, _sqlite_path(path))
        return column.op("#>")(sa.cast(list(path), sa.ARRAY(sa.Text)))

    def _json_test(self, test: Test, column: Expression) -> Expression:
        if self._resource.fields[test.field].kind is not Kind.JSON:
            raise ValidationError(
                f"{test.field}__{test.path[0]}: {test.field} holds no JSON, and {test.path[0]!r} is not a lookup "
                f"(lookups: {', '.join(LOOKUPS)})",
                reason="UNKNOWN_LOOKUP",
                field=test.field,
            )
        if test.op == "isnull":
            if self._sqlite:
                value: Expression = sa.func.json_type(column, _sqlite_path(test.path))
            else:
                value = self.json_value(column, test.path)
            return value.is_(None) if test.values[0] else value.is_not(None)
        if test.op in _TEXT_LOOKUPS:
            return self._text_lookup(test.op, self._json_text(column, test.path), str(test.values[0]), test)
        alternatives = [self._json_compare(test, column, value) for value in test.values]
        if test.op == "range":
            low = self._json_compare(Test(test.field, "gte", (), test.path), column, test.values[0])
            return sa.and_(low, self._json_compare(Test(test.field, "lte", (), test.path), column, test.values[1]))
        return sa.or_(sa.false(), *alternatives)

    def _json_text(self, column: Expression, path: Sequence[str]) -> Expression:
        if self._sqlite:
            kind = sa.func.json_type(column, _sqlite_path(path))
            return sa.case((kind == "text", sa.func.json_extract(column, _sqlite_path(path))), else_=None)
        value = self.json_value(column, path)
        return sa.case((sa.func.jsonb_typeof(value) == "string", value.op("#>>", return_type=sa.Text())(sa.text("'{}'"))), else_=None)

    def _json_number(self, column: Expression, path: Sequence[str]) -> Expression:
        if self._sqlite:
            kind = sa.func.json_type(column, _sqlite_path(path))
            return sa.case(
                (kind.in_(["integer", "real"]), sa.func.json_extract(column, _sqlite_path(path))), else_=None
            )
        value = self.json_value(column, path)
        number = sa.cast(value.op("#>>", return_type=sa.Text())(sa.text("'{}'")), sa.Numeric)
        return sa.case((sa.func.jsonb_typeof(value) == "number", number), else_=None)

    def _json_kind(self, column: Expression, path: Sequence[str]) -> Expression:
        if self._sqlite:
            return sa.func.json_type(column, _sqlite_path(path))
        return sa.func.jsonb_typeof(self.json_value(column, path))

    def _json_compare(self, test: Test, column: Expression, value: Any) -> Expression:
        compare = _COMPARISONS.get(test.op, _equal)
        if value is None:
            return self._json_kind(column, test.path) == "null"
        if isinstance(value, bool):
            if self._sqlite:
                return self._json_kind(column, test.path) == ("true" if value else "false")
            return self.json_value(column, test.path) == sa.cast(sa.literal(json.dumps(value)), schema.Json)
        if isinstance(value, (int, float)):
            return compare(self._json_number(column, test.path), value)
        return compare(self._json_text(column, test.path), value)

    # Order and pages

    def order(self, orders: Sequence[Order]) -> list[tuple[Expression, bool, bool]]:
        """(expression, descending, nullable) of each sort key; the key of the row comes last.

        Raises:
            ValidationError: a field does not exist.
        """
        keys = []
        for order in orders:
            column = self.column(order.field)
            if order.path:
                column = self.json_value(column, order.path)
            keys.append((column, order.descending, bool(order.path) or order.field in _NULLABLE))
        return [*keys, (self._resource.key, False, False)]


def order_clauses(keys: Sequence[tuple[Expression, bool, bool]]) -> list[Expression]:
    """The ORDER BY of sort keys; null sorts as the smallest."""
    clauses: list[Expression] = []
    for expression, descending, nullable in keys:
        if nullable:
            present: Expression = sa.case((expression.is_(None), 0), else_=1)
            clauses.append(present.desc() if descending else present.asc())
        clauses.append(expression.desc() if descending else expression.asc())
    return clauses


def after_condition(keys: Sequence[tuple[Expression, bool, bool]], values: Sequence[Any]) -> Expression:
    """The rows behind one whose sort keys have these values."""
    alternatives: list[Expression] = []
    equal: list[Expression] = []
    for (expression, descending, nullable), value in zip(keys, values, strict=True):
        bound = sa.cast(sa.literal(json.dumps(value)), expression.type) if _is_jsonb(expression) else value
        behind: Expression
        same: Expression
        if value is None:
            behind = sa.false() if descending else expression.is_not(None)
            same = expression.is_(None)
        else:
            behind = expression < bound if descending else expression > bound
            if nullable and descending:
                behind = sa.or_(behind, expression.is_(None))
            same = expression == bound
        alternatives.append(sa.and_(*equal, behind))
        equal.append(same)
    return sa.or_(*alternatives)


def _is_jsonb(expression: Expression) -> bool:
    return expression.type.__class__.__name__ == "JSONB"


def pack_token(values: Sequence[Any]) -> str:
    """A page token: the sort keys of the page's last row."""
    return base64.urlsafe_b64encode(json.dumps(list(values)).encode()).decode()


def unpack_token(token: str, count: int) -> list[Any]:
    """The sort keys behind a page token. Raises ValidationError if it is none of ours."""
    try:
        values = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error):
        values = None
    if not isinstance(values, list) or len(values) != count:
        raise ValidationError("page_token is not one of this query's; ask for the first page", field="page_token")
    return values


def _sqlite_path(path: Sequence[str]) -> str:
    parts = []
    for part in path:
        if '"' in part:
            raise ValidationError(f"the key {part!r} of a JSON path holds a quote", field="path")
        parts.append(f"[{part}]" if part.isdecimal() else f'."{part}"')
    return "$" + "".join(parts)


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
