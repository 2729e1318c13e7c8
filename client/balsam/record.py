"""What the objects have in common of which there are few: each is stored by a call of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from balsam.errors import NotFound, ValidationError
from balsam.model import Model, Values
from balsam.query import Node
from balsam.rows import cell

if TYPE_CHECKING:
    from balsam.record_calls import RecordCalls


class Record(Model):
    """An object that the store answers with as a whole whenever it is stored."""

    __slots__ = ()

    revision: int

    @classmethod
    def _calls(cls) -> RecordCalls:
        raise NotImplementedError

    def _check_new(self) -> None:
        """Refuses a new object that cannot be stored."""

    @classmethod
    def _to_store(cls, values: Values) -> Values:
        """Values of changed or new fields, as they are sent."""
        return cls._as_stored(values)

    def _call(self, verb: str, *arguments: Any) -> Any:
        """A call about this object. Raises DoesNotExist."""
        try:
            return getattr(self._calls(), verb)(self.pk, *arguments)
        except NotFound as error:
            raise self._missing(str(error)) from None

    def save(self, update_fields: Iterable[str] | None = None, *, if_unchanged: bool = False) -> None:
        """Stores a new object; of one that is stored, the fields changed since it was loaded, or `update_fields`.

        Raises:
            ValidationError: a field is missing, or the store refuses a value.
            Conflict: its name is taken; or `if_unchanged`, and somebody has changed it since it was loaded.
            DoesNotExist: it was deleted.
        """
        if not self._stored:
            self._create_many([self])
            return
        names = self._chosen_fields(update_fields)
        if names:
            values = self._to_store(self._checked_values(names))
            self._adopt(self._call("update", values, self.revision if if_unchanged else 0), names)

    def _adopt(self, values: Values, names: Iterable[str]) -> None:
        """Takes what the store now holds; changes of other fields stay."""
        changed = [name for name in self.changed_fields() if name not in set(names)]
        self._take([name for name in self._table if name not in changed], values)

    @classmethod
    def _create_many(cls, instances: Sequence[Any]) -> None:
        for record in instances:
            if not cls._is_one(record):
                raise ValidationError(f"{record!r} is no {cls._kind}")
            record._check_new()
        for record in instances:
            record._values = cls._calls().create(cls._to_store(record._values))
            record._originals = {}
            record._stored = record._complete = True

    def delete(self) -> None:
        """Removes it from the store. Raises NotAllowed while it is needed, and DoesNotExist."""
        self._call("delete")

    def _fetch(self) -> Values:
        fetched: Values = self._call("get")
        return fetched

    # What queries do with many; there are few, so one after the other

    @classmethod
    def _each(cls, where: Node) -> Iterable[Values]:
        return [values for page in cls._calls().pages(where) for values in page]

    @classmethod
    def _count(cls, where: Node) -> int:
        return len(list(cls._each(where)))

    @classmethod
    def _groups(cls, where: Node, fields: Sequence[str]) -> list[tuple[tuple[Any, ...], int]]:
        rows = (tuple(cell(cls._table, field, values) for field in fields) for values in cls._each(where))
        return list(Counter(rows).items())

    @classmethod
    def _update_matching(cls, where: Node, values: Mapping[str, Any]) -> int:
        clean = {cls._changeable(name).name: cls._field(name).check(value) for name, value in values.items()}
        found = list(cls._each(where)) if clean else []
        for record in found:
            cls._calls().update(record[cls._identity_field()], cls._as_stored(clean))
        return len(found)

    @classmethod
    def _delete_matching(cls, where: Node) -> int:
        found = list(cls._each(where))
        for record in found:
            cls._calls().delete(record[cls._identity_field()])
        return len(found)
