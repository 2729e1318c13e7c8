"""Reads: pages of jobs and of other resources, and counts, on a reader's connection."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from balsam.errors import ValidationError
from balsam.fields import JOB_FIELDS, check_id, unknown_field
from balsam_jobstore import schema
from balsam_jobstore.amounts import ID_BYTES, MOST_BYTES, Room, bytes_of_row
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
from balsam_jobstore.rows import job_label
from balsam_jobstore.setting_aside import DamagedRow

T = TypeVar("T")

PAGE_SIZE = 1000
MAX_PAGE_SIZE = 10_000
MAX_GROUPS = 100_000
_MOST_GROUP_BYTES = 12 * 1024 * 1024
_FEW = 32
_BY_CURSOR = {"stream_results": True, "max_row_buffer": _FEW}
"""Rows come from the database a few at a time: each may have some MiB."""
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
    """The fields that a mask names; all but `parents` if it names none. Raises ValidationError for one that is none."""
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
    rows, more = _page(
        connection,
        _compiler(connection, JOBS, sqlite),
        [JOB_COLUMNS[name] for name in names],
        (node, orders, size, token),
        lambda used: _source(used | set(fields), _behind(orders, token)),
        visible,
    )
    if "parents" in fields:
        fit = _whose_parents_fit(connection, [row[-1] for row in rows])
        rows, more = rows[:fit], more or fit < len(rows)
    jobs = [dict(zip(names, row[: len(names)], strict=True)) for row in rows]
    if "parents" in fields:
        parents = parents_of(connection, [row[-1] for row in rows])
        for job, row in zip(jobs, rows, strict=True):
            job["parents"] = parents.get(row[-1], [])
    return jobs, _next_token(rows, more, len(names))


def _whose_parents_fit(connection: sa.Connection, keys: Sequence[int]) -> int:
    """How many of the first of these jobs have no more parents together than an answer can hold."""
    room = Room(MOST_BYTES // 2)
    for start in range(0, len(keys), 10_000):
        some = keys[start : start + 10_000]
        query = sa.select(_edge.c.child, sa.func.count()).where(_edge.c.child.in_(some)).group_by(_edge.c.child)
        counts = {int(child): int(number) for child, number in connection.execute(query)}
        for index, key in enumerate(some, start):
            if not room.takes(ID_BYTES * counts.get(key, 0)):
                return index
    return len(keys)


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
    rows, more = _page(connection, compiler, list(resource.columns.values()), asked)
    count = len(resource.columns)
    found = [dict(zip(resource.columns, row[:count], strict=True)) for row in rows]
    return found, _next_token(rows, more, count)


def _page(
    connection: sa.Connection,
    compiler: Compiler,
    columns: Sequence[sa.ColumnElement[Any]],
    asked: tuple[Node | None, Sequence[Order], int, str],
    source: Callable[[set[str]], sa.FromClause] | None = None,
    visible: Condition = None,
) -> tuple[list[sa.Row[Any]], bool]:
    """The rows of a page, its columns and then its sort keys, the key of the row last; and whether there are more.

    A page ends early where its rows are large.

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
    query = query.order_by(*order_clauses(keys)).limit(size + 1)
    found: list[sa.Row[Any]] = []
    room = Room()
    with regex_bounded(connection, compiler.regex), connection.execute(query, execution_options=_BY_CURSOR) as rows:
        for row in itertools.chain.from_iterable(rows.partitions(_FEW)):
            if len(found) == size or not room.takes(bytes_of_row(row)):
                return found, True
            found.append(row)
    return found, False


def _next_token(rows: Sequence[sa.Row[Any]], more: bool, columns: int) -> str:
    """The token of the page after these rows, whose sort keys stand behind so many columns."""
    return pack_token(rows[-1][columns:]) if more else ""


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


@dataclass(frozen=True)
class JobHold:
    """Who has a job, as far as the job's own row says.

    Attributes:
        key: of the job.
        fence: the token of its lease.
        session: key of the session that has it; None: none.
        state: its state.
        owner_key: its user.
        label: what it is called in messages.
    """

    key: int
    fence: int
    session: int | None
    state: int
    owner_key: int
    label: str


def hold_of(connection: sa.Connection, job_id: str) -> JobHold | None:
    """Who has a job; None: there is no such job."""
    columns = (_job.c.key, _job.c.fence, _job.c.session, _job.c.state, _job.c.owner_key, _job.c.name)
    row = connection.execute(sa.select(*columns).where(_job.c.job_id == job_id)).first()
    if row is None:
        return None
    key, fence, session, state, owner_key, name = row
    return JobHold(key, fence, session, state, owner_key, job_label(name, job_id))


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
    query: sa.Select[Any] = sa.select(*columns, sa.func.count()).select_from(_source(compiler.used))
    if visible is not None:
        query = query.where(visible)
    query = query.where(where).group_by(*columns).order_by(*columns).limit(MAX_GROUPS + 1)
    rows: list[Any] = []
    room = Room(_MOST_GROUP_BYTES)
    with regex_bounded(connection, compiler.regex), connection.execute(query, execution_options=_BY_CURSOR) as found:
        for row in itertools.chain.from_iterable(found.partitions(_FEW)):
            if len(rows) == MAX_GROUPS or not room.takes(bytes_of_row(row)):
                raise _too_many_groups(group_by)
            rows.append(row)
    if not group_by:
        return int(rows[0][0]), []
    return sum(row[-1] for row in rows), [tuple(row) for row in rows]


def count_own_and_others(connection: sa.Connection, sqlite: bool, node: Node, own: Condition) -> tuple[int, int]:
    """How many jobs match of those for which `own` holds, and of the others; with no condition all are one's own."""
    mine, _ = count_jobs(connection, sqlite, node, [], own)
    return mine, 0 if own is None else count_jobs(connection, sqlite, node, [], ~own)[0]


def _too_many_groups(group_by: Sequence[str]) -> ValidationError:
    return ValidationError(
        f"group_by = {', '.join(group_by)}: there are more than {MAX_GROUPS} groups, or their values are longer than "
        "one answer can hold; take a field with fewer values, or a filter",
        field="group_by",
    )


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
