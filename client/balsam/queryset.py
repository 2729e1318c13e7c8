"""Lazy, chainable queries, with the methods of Django's query sets. They run in the job store's database."""

from __future__ import annotations

import collections
import itertools
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from balsam import query
from balsam.errors import Conflict, ValidationError
from balsam.q import counted_field
from balsam.query import EVERYTHING, NOTHING, Key, Node
from balsam.results import Results, iterate
from balsam.rows import Columns, Shape

if TYPE_CHECKING:
    from balsam.model import Model

T = TypeVar("T")

PAGE = 1000
_SHOWN = 20


class QuerySet(Generic[T]):
    """A query. It runs when its rows are asked for, and keeps them for as long as it is itself kept.

    A query that nobody keeps (``for job in BalsamJob.objects.all()``), and `iterator`, hold one page at a time.
    """

    def __init__(self, model: type[Model]) -> None:
        self.model: type[Any] = model
        self._where: Node = EVERYTHING
        self._order: tuple[Key, ...] = ()
        self._start = 0
        self._stop: int | None = None
        self._columns: Columns | None = None
        self._distinct = False
        self._group_order: tuple[tuple[str, bool], ...] = ()
        self._results: Results[T] | None = None

    # Making other queries

    def _copy(self, **changes: Any) -> Self:
        other = QuerySet.__new__(QuerySet)
        other.__dict__.update(self.__dict__, _results=None, **changes)
        return other  # type: ignore[return-value]

    def _unsliced(self, what: str) -> None:
        if self._start or self._stop is not None:
            raise TypeError(f"cannot {what} a query once a slice has been taken")

    def _conditions(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Node:
        return query.conditions(self.model._table, self.model._kind, args, kwargs)

    def all(self) -> Self:
        """The same query, not yet run."""
        return self._copy()

    def none(self) -> Self:
        """A query that matches nothing, and contacts nothing."""
        return self._copy(_where=NOTHING)

    def filter(self, *args: Any, **kwargs: Any) -> Self:
        """Only objects for which all these conditions hold.

        Raises:
            ValidationError: a field or lookup does not exist, or a value does not fit.
        """
        self._unsliced("filter")
        return self._copy(_where=query.all_of([self._where, self._conditions(args, kwargs)]))

    def exclude(self, *args: Any, **kwargs: Any) -> Self:
        """Only objects for which these conditions do not all hold."""
        self._unsliced("filter")
        node = self._conditions(args, kwargs)
        if node == EVERYTHING and not (args or kwargs):
            return self._copy()
        return self._copy(_where=query.all_of([self._where, query.negation(node)]))

    def order_by(self, *names: str) -> Self:
        """Sorted by these fields (``-`` in front: largest first); without names in order of creation."""
        self._unsliced("reorder")
        counts = self._columns.counts if self._columns is not None else ()
        keys: list[Key] = []
        groups: list[tuple[str, bool]] = []
        for name in names:
            if name.lstrip("-") not in counts:
                keys.append(query.sort_key(self.model._table, self.model._kind, name))
            groups.append((name.lstrip("-") if name.lstrip("-") in counts else keys[-1].field, name[0] == "-"))
        return self._copy(_order=tuple(keys), _group_order=tuple(groups))

    def distinct(self) -> Self:
        """Without equal rows. Objects are never equal; rows of `values` and `values_list` may be."""
        self._unsliced("change")
        return self._copy(_distinct=True)

    def values(self, *names: str) -> QuerySet[dict[str, Any]]:
        """The rows are dicts of these fields, or of all."""
        return self._shaped(Shape.DICT, names)

    def values_list(self, *names: str, flat: bool = False) -> QuerySet[Any]:
        """The rows are tuples of these fields, or of all; with `flat` (one field only) the values themselves.

        Raises:
            ValidationError: `flat` with no field or several, or a field that does not exist.
        """
        if flat and len(names) != 1:
            raise ValidationError("values_list(flat=True) takes exactly one field")
        return self._shaped(Shape.FLAT if flat else Shape.TUPLE, names)

    def _shaped(self, shape: Shape, names: tuple[str, ...]) -> QuerySet[Any]:
        return self._copy(_columns=Columns.of(self.model._table, self.model._kind, shape, names))

    def annotate(self, *counts: Any, **named: Any) -> QuerySet[Any]:
        """How many objects share each value: ``values("state").annotate(n=Count("pk"))``.

        Raises:
            ValidationError: something else than Count is asked for, or a field that cannot be counted by.
        """
        if self._columns is None:
            raise ValidationError("annotate(Count(...)) counts by values: call values(FIELD) first")
        aliases = {}
        for name, count in [*((None, c) for c in counts), *named.items()]:
            field = counted_field(count)
            if field is None:
                raise ValidationError(f"annotate takes Count(FIELD), not {count!r}")
            aliases[name or f"{field}__count"] = "pk" if field == "*" else field
        columns = self._columns.with_counts(aliases)
        if not columns.can_group(self._order):
            raise ValidationError("a query with counts is sorted by its own columns only")
        return self._copy(_columns=columns)

    def __and__(self, other: QuerySet[T]) -> Self:
        return self._joined(other, query.all_of)

    def __or__(self, other: QuerySet[T]) -> Self:
        return self._joined(other, query.any_of)

    def _joined(self, other: QuerySet[T], join: Any) -> Self:
        if not isinstance(other, QuerySet) or other.model._kind != self.model._kind:
            raise TypeError(f"{other!r} is not a query of {self.model._kind}s")
        self._unsliced("combine")
        other._unsliced("combine")
        return self._copy(_where=join([self._where, other._where]))

    def _as_condition(self, table: query.Table, field: str) -> Node | None:
        """This query as the condition of ``field__in=query``; None: its rows must be read."""
        whole = self._start == 0 and self._stop is None
        identity = next(iter(self.model._table))
        if not whole or table is not self.model._table or field != identity:
            return None
        if self._columns is None or self._columns.fields() == [identity]:
            return self._where
        return None

    # Rows

    def _rows(self, page: int = PAGE) -> Iterator[T]:
        """Runs the query; one page at a time in memory."""
        if self._where == NOTHING or (self._stop is not None and self._stop <= self._start):
            return iter(())
        rows = self._group_rows() if self._in_groups() else self._stored_rows(page)
        return itertools.islice(rows, self._start, self._stop)

    def _in_groups(self) -> bool:
        """Whether the rows are values that objects share, which the store counts."""
        columns = self._columns
        if columns is None:
            return False
        return bool(columns.counts) or (self._distinct and columns.can_group(self._order))

    def _group_rows(self) -> Iterator[Any]:
        assert self._columns is not None
        groups = self.model._groups(self._where, self._columns.fields())
        return self._columns.group_rows(groups, self._group_order)

    def _stored_rows(self, page: int) -> Iterator[Any]:
        columns = self._columns
        fields = columns.fields() if columns is not None else None
        size = page if self._stop is None or self._distinct else min(page, self._stop)
        pages = self.model._calls().pages(self._where, self._order, size, fields)
        values = itertools.chain.from_iterable(pages)
        if columns is None:
            return map(self.model._from_values, values)
        return columns.rows(values, self._distinct)

    def _fetched(self) -> Results[T]:
        if self._results is None:
            self._results = Results(self._rows())
        return self._results

    def __iter__(self) -> Iterator[T]:
        return iterate(weakref.ref(self), self._copy())

    def iterator(self, chunk_size: int = PAGE) -> Iterator[T]:
        """The rows, streamed in pages of `chunk_size`; they are not kept."""
        return self._rows(chunk_size)

    def __len__(self) -> int:
        return len(self._fetched().all())

    def __bool__(self) -> bool:
        return self._fetched().has(1)

    def __contains__(self, value: Any) -> bool:
        if self._results is None and self._columns is None and self._stop is None and not self._start:
            return self.model._is_one(value) and self.filter(pk=value.pk).exists()
        return value in self._fetched().all()

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> QuerySet[T] | list[T]: ...
    def __getitem__(self, index: int | slice) -> T | QuerySet[T] | list[T]:
        bounds = (index.start, index.stop) if isinstance(index, slice) else (index,)
        for bound in bounds:
            if bound is not None and bound < 0:
                raise ValueError("negative indexing of a query is not supported; reverse its order")
        if not isinstance(index, slice):
            return self._at(index)
        if self._results is not None:
            return self._results.all()[index]
        part = self._part(index.start or 0, index.stop)
        return list(part)[:: index.step] if index.step else part

    def _part(self, start: int, stop: int | None) -> Self:
        ends = [self._start + stop] if stop is not None else []
        ends += [self._stop] if self._stop is not None else []
        return self._copy(_start=self._start + start, _stop=min(ends) if ends else None)

    def _at(self, index: int) -> T:
        if self._results is not None and self._results.has(index + 1):
            return self._results.rows[index]
        for row in self._part(index, index + 1)._rows():
            return row
        raise IndexError(f"the query has no row {index}")

    def __repr__(self) -> str:
        rows = list(self[: _SHOWN + 1])
        more = ", ..." if len(rows) > _SHOWN else ""
        return f"<QuerySet [{', '.join(map(repr, rows[:_SHOWN]))}{more}]>"

    # One object

    def get(self, *args: Any, **kwargs: Any) -> T:
        """The one object for which all conditions hold.

        Raises:
            DoesNotExist: there is none (the class's own, a NotFound).
            MultipleObjectsReturned: there are several.
        """
        narrowed = self.filter(*args, **kwargs) if args or kwargs else self
        found = list(narrowed._part(0, 2)._rows())
        if len(found) == 1:
            return found[0]
        said = ", ".join([*(repr(arg) for arg in args), *(f"{k}={v!r}" for k, v in kwargs.items())])
        name = self.model.__name__
        if found:
            raise self.model.MultipleObjectsReturned(f"more than one {name} matches {said or 'the query'}")
        raise self.model.DoesNotExist(f"no {name} matches {said or 'the query'}")

    def first(self) -> T | None:
        """The first object, or None."""
        return next(self._part(0, 1)._rows(), None)

    def last(self) -> T | None:
        """The last object, or None."""
        self._unsliced("take the last of")
        if self._columns is not None:
            rows = list(self._rows())
            return rows[-1] if rows else None
        keys = self._order or tuple(map(Key, self.model._default_order))
        backward = tuple(Key(key.field, key.path, not key.descending) for key in keys)
        newest: Any = self._copy(_order=backward).first()
        if newest is None:
            return None
        # Of those with equal keys the order of creation decides, and its end cannot be asked for.
        ties: Any = self._copy(_where=query.all_of([self._where, *(newest._same(key) for key in keys)]))
        tail = collections.deque(ties.values_list("pk", flat=True).iterator(), maxlen=1)
        last: T | None = newest if not tail or tail[0] == newest.pk else ties.filter(pk=tail[0]).first()
        return last

    def count(self) -> int:
        """How many rows there are."""
        if self._results is not None:
            return len(self._results.all())
        if self._where == NOTHING:
            return 0
        whole = self._start == 0 and self._stop is None
        if self._columns is not None and (self._columns.counts or self._distinct):
            return sum(1 for _ in self._rows())
        if not whole:
            matching = self._copy(_start=0, _stop=None).count()
            return max(min(matching, matching if self._stop is None else self._stop) - self._start, 0)
        return int(self.model._count(self._where))

    def exists(self) -> bool:
        """Whether there is any row."""
        if self._results is not None:
            return self._results.has(1)
        if self._columns is None:
            return next(iter(self.values_list("pk", flat=True)._part(0, 1)._rows()), None) is not None
        return next(self._part(0, 1)._rows(), None) is not None

    def in_bulk(self, ids: Iterable[Any] | None = None) -> dict[Any, T]:
        """The objects with these identities (None: all), by identity; those that do not exist are missing."""
        found: Any = self if ids is None else self.filter(pk__in=list(ids))
        return {row.pk: row for row in found.iterator()}

    # Writing

    def create(self, **fields: Any) -> T:
        """Makes an object and saves it."""
        instance = self.model(**fields)
        instance.save()
        return instance  # type: ignore[no-any-return]

    def get_or_create(self, defaults: Mapping[str, Any] | None = None, **kwargs: Any) -> tuple[T, bool]:
        """The one object with these values; made, with `defaults`, if there is none. And whether it was made."""
        kwargs = self.model._as_stored(kwargs)
        try:
            return self.get(**kwargs), False
        except self.model.DoesNotExist:
            fields = {name: value for name, value in kwargs.items() if "__" not in name}
        try:
            return self.create(**fields, **(defaults or {})), True
        except Conflict:
            return self.get(**kwargs), False  # somebody else made it meanwhile

    def bulk_create(self, objects: Iterable[T], batch_size: int | None = None) -> list[T]:
        """Saves many new objects, in order: all or none, or batch by batch, each of them all or none.

        Objects that were saved already are not added twice, so a call that was interrupted can be repeated.

        Raises:
            BalsamError: an object was refused; names the first one and says how many.
        """
        if batch_size is not None and batch_size < 1:
            raise ValidationError(f"batch_size = {batch_size}: must be at least 1")
        rest, rows = iter(objects), []
        while batch := list(itertools.islice(rest, batch_size)):
            self.model._create_many(batch)  # while the jobs of a batch start, the next one is made
            rows += batch
        return rows

    def update(self, **values: Any) -> int:
        """Sets fields of every object that matches; returns how many.

        Raises:
            BalsamError: some were refused; the message says what became of the others.
        """
        self._unsliced("update")
        return int(self.model._update_matching(self._where, values))

    def delete(self) -> tuple[int, dict[str, int]]:
        """Deletes every object that matches; returns how many, and how many of each class.

        Raises:
            BalsamError: some were refused; the message says what became of the others.
        """
        self._unsliced("delete from")
        number = int(self.model._delete_matching(self._where))
        return number, {self.model.__name__: number} if number else {}
