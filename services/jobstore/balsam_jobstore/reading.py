"""Reads: pages of jobs and of other resources, and counts, on a reader's connection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from balsam.errors import ValidationError
from balsam.fields import JOB_FIELDS, check_id, unknown_field
from balsam_jobstore import schema
from balsam_jobstore.database import regex_bounded
from balsam_jobstore.paging import SortKey, order_clauses, pack_token, rows_after
from balsam_jobstore.query import (
    JOB_COLUMNS,
    JOBS,
    Compiler,
    Node,
    Order,
    Resource,
)
from balsam_jobstore.setting_aside import DamagedRow

T = TypeVar("T")

PAGE_SIZE = 1000
MAX_PAGE_SIZE = 10_000
MAX_GROUPS = 100_000
_job, _detail, _edge = schema.job, schema.job_detail, schema.edge
Condition = sa.ColumnElement[bool] | None
"""On jobs, beside a filter; None: there is none."""


def _compiler(connection: sa.Connection, resource: Resource, sqlite: bool) -> Compiler:
    return Compiler(resource, sqlite=sqlite, lowering=connection.info.get("lowering", ""))


def _all(connection: sa.Connection, compiler: Compiler, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
    with regex_bounded(connection, compiler.regex):
        return connection.execute(query).all()


def page_size(asked: int) -> int:
    """The size of a page. Raises ValidationError for one that is out of range."""
    if not 0 <= asked <= MAX_PAGE_SIZE:
        raise ValidationError(f"page_size = {asked}: must be 1 to {MAX_PAGE_SIZE}, or 0", field="page_size")
    return asked or PAGE_SIZE


def job_fields(mask: Sequence[str]) -> list[str]:
    """The fields that a mask names; all but `parents` if it names none."""
    for name in mask:
        if name not in JOB_FIELDS:
            raise unknown_field(name, JOB_FIELDS, "a job")
    return list(dict.fromkeys(["job_id", *mask])) if mask else list(JOB_COLUMNS)


def list_jobs(
    connection: sa.Connection,
    sqlite: bool,
    node: Node | None,
    orders: Sequence[Order],
    size: int,
    token: str,
    fields: Sequence[str],
    visible: Condition = None,
) -> tuple[list[dict[str, Any]], str]:
    """A page of jobs as field -> value, and the token of the next page; of those that are visible only."""
    names = [name for name in fields if name in JOB_COLUMNS]
    rows, next_token = _page(
        connection,
        _compiler(connection, JOBS, sqlite),
        [JOB_COLUMNS[name] for name in names],
        (node, orders, size, token),
        lambda used: _source(used | set(fields), _behind(orders, token)),
        visible,
    )
    jobs = [dict(zip(names, row[: len(names)], strict=True)) for row in rows]
    if "parents" in fields:
        parents = parents_of(connection, [row[-1] for row in rows])
        for job, row in zip(jobs, rows, strict=True):
            job["parents"] = parents.get(row[-1], [])
    return jobs, next_token


def list_records(
    connection: sa.Connection,
    sqlite: bool,
    resource: Resource,
    node: Node | None,
    orders: Sequence[Order],
    size: int,
    token: str,
) -> tuple[list[dict[str, Any]], str]:
    """A page of a resource that is one table, as field -> value, and the token of the next page."""
    compiler = _compiler(connection, resource, sqlite)
    asked = (node, orders or resource.order, size, token)
    rows, next_token = _page(connection, compiler, list(resource.columns.values()), asked)
    count = len(resource.columns)
    return [dict(zip(resource.columns, row[:count], strict=True)) for row in rows], next_token


def _page(
    connection: sa.Connection,
    compiler: Compiler,
    columns: Sequence[sa.ColumnElement[Any]],
    asked: tuple[Node | None, Sequence[Order], int, str],
    source: Callable[[set[str]], sa.FromClause] | None = None,
    visible: Condition = None,
) -> tuple[Sequence[sa.Row[Any]], str]:
    """The rows of a page, its columns and then its sort keys, the key of the row last; and the token of the next page.

    Args:
        asked: condition, sort keys, size, token.
        source: gives the tables that hold these fields, where that is not the only table of the columns.
        visible: holds for the rows that are there for whoever asks.
    """
    node, orders, size, token = asked
    keys = compiler.order(orders)
    labelled = [column.label(f"column_{i}") for i, column in enumerate(columns)]
    query = sa.select(*labelled, *(key.expression.label(f"sort_{i}") for i, key in enumerate(keys)))
    if node is not None:
        query = query.where(compiler.where(node))
    if visible is not None:
        query = query.where(visible)
    if token:
        query = query.where(rows_after(keys, token))
    if source is not None:
        query = query.select_from(source(compiler.used))
    rows = _all(connection, compiler, query.order_by(*order_clauses(keys)).limit(size + 1))
    kept = _of_size(rows[:size], [i for i, column in enumerate(columns) if isinstance(column.type, sa.Text)])
    if len(kept) == len(rows):
        return rows, ""
    return kept, pack_token(kept[-1][len(columns) :])


_MOST_PAGE_BYTES = 8 << 20
"""Of the texts on a page, about: an answer has at most twice that."""


def _of_size(rows: Sequence[sa.Row[Any]], texts: Sequence[int]) -> Sequence[sa.Row[Any]]:
    """The first of these rows, as many as a page holds, and one at least; `texts`: columns that may be long."""
    size = 0
    for number, row in enumerate(rows):
        # What PostgreSQL has as JSON comes as an object.
        size += sum([len(row[i]) if type(row[i]) is str else len(repr(row[i])) for i in texts if row[i]])
        if size > _MOST_PAGE_BYTES and number:
            return rows[:number]
    return rows


_IN_DETAIL = frozenset(
    name for name, expression in JOB_COLUMNS.items() if getattr(expression, "table", None) is _detail
)


def _source(fields: Iterable[str], behind: sa.ColumnElement[bool] | None = None) -> sa.FromClause:
    """The tables that these fields need.

    Args:
        fields: names of fields.
        behind: bounds the keys of `job_detail` as the query bounds those of `job`. From equal keys PostgreSQL does not
            conclude that both are behind the same bound, and would read all the details before it, page by page.
    """
    if _IN_DETAIL.isdisjoint(fields):
        return _job
    same = _detail.c.key == _job.c.key
    return _job.join(_detail, same if behind is None else sa.and_(same, behind))


def _behind(orders: Sequence[Order], token: str) -> sa.ColumnElement[bool] | None:
    """The bound on keys that a page token gives, where jobs come in the order of their keys."""
    if not token or (orders and orders[0].field != "create_time"):
        return None
    return rows_after([SortKey(_detail.c.key, bool(orders) and orders[0].descending)], token)


def parents_of(connection: sa.Connection, keys: Sequence[int]) -> dict[int, list[str]]:
    """Key -> ids of the parents."""
    found: dict[int, list[str]] = defaultdict(list)
    for start in range(0, len(keys), 10_000):
        query = (
            sa.select(_edge.c.child, _job.c.job_id)
            .join(_job, _job.c.key == _edge.c.parent)
            .where(_edge.c.child.in_(keys[start : start + 10_000]))
            .order_by(_edge.c.parent)
        )
        for child, parent in connection.execute(query):
            found[child].append(str(parent))
    return found


def each_sound(
    connection: sa.Connection, jobs: Sequence[dict[str, Any]], make: Callable[[dict[str, Any]], T]
) -> list[T]:
    """What `make` gives for each job.

    Raises:
        DamagedRow: for some of them it cannot give anything.
    """
    made, damaged = [], []
    for values in jobs:
        try:
            made.append(make(values))
        except (TypeError, ValueError):
            damaged.append(values["job_id"])
    if damaged:
        keys = connection.execute(sa.select(_job.c.key).where(_job.c.job_id.in_(damaged))).scalars()
        raise DamagedRow("job", list(keys))
    return made


def get_job(connection: sa.Connection, job_id: str, visible: Condition = None) -> dict[str, Any] | None:
    """One job with its parents, as field -> value; None: there is none that is visible."""
    columns = [expression.label(name) for name, expression in JOB_COLUMNS.items()]
    query = sa.select(_job.c.key.label("key"), *columns).join(_detail, _detail.c.key == _job.c.key)
    if visible is not None:
        query = query.where(visible)
    row = connection.execute(query.where(_job.c.job_id == check_id(job_id))).mappings().first()
    if row is None:
        return None
    job = dict(row)
    key = job.pop("key")
    job["parents"] = parents_of(connection, [key]).get(key, [])
    return job


def count_jobs(
    connection: sa.Connection,
    sqlite: bool,
    node: Node | None,
    group_by: Sequence[str],
    visible: Condition = None,
) -> tuple[int, list[tuple[Any, ...]]]:
    """How many jobs match, and are visible; and (values..., count) by the values of some fields.

    Raises:
        ValidationError: they have too many values.
    """
    if node is None and visible is None and list(group_by) in ([], ["state"]):
        counts = _by_state(connection)
        return sum(number for _, number in counts), counts if group_by else []
    compiler = _compiler(connection, JOBS, sqlite)
    where = compiler.where(node) if node is not None else sa.true()
    columns = [compiler.plain_column(name) for name in group_by]
    query = sa.select(*columns, sa.func.count()).select_from(_source(compiler.used))
    if visible is not None:
        query = query.where(visible)
    query = query.where(where).group_by(*columns).order_by(*columns).limit(MAX_GROUPS + 1)
    rows = _all(connection, compiler, query)
    if len(rows) > MAX_GROUPS:
        raise ValidationError(
            f"group_by = {', '.join(group_by)}: there are more than {MAX_GROUPS} groups; take a field with fewer "
            "values, or a filter",
            field="group_by",
        )
    if not group_by:
        return int(rows[0][0]), []
    return sum(row[-1] for row in rows), [tuple(row) for row in rows]


def _by_state(connection: sa.Connection) -> list[tuple[Any, ...]]:
    """(state, number) of all jobs."""
    numbers = connection.execute(sa.select(*[schema.counter.c[name] for name in schema.STATE_COUNTS.values()])).one()
    return [(state, number) for state, number in zip(schema.STATE_COUNTS, numbers, strict=True) if number]


def select_keys(
    connection: sa.Connection, sqlite: bool, node: Node, after: int, limit: int, own: Condition = None
) -> list[int]:
    """Keys of the jobs that match, behind a key, in order; of those for which `own` holds."""
    compiler = _compiler(connection, JOBS, sqlite)
    where = compiler.where(node)
    query = (
        sa.select(_job.c.key)
        .select_from(_source(compiler.used, _detail.c.key > after))
        .where(where, _job.c.key > after, *([] if own is None else [own]))
        .order_by(_job.c.key)
        .limit(limit)
    )
    return [key for (key,) in _all(connection, compiler, query)]
