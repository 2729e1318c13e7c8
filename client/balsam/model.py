"""What the objects of the Python API have in common: checked fields, and knowledge of what was changed."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, overload

from balsam.attributes import Attribute
from balsam.errors import NotFound, ValidationError
from balsam.fields import Field, Phase, unknown_field

if TYPE_CHECKING:
    from balsam.client import Client
    from balsam.manager import Manager
    from balsam.query import Key, Node

Values = dict[str, Any]
M = TypeVar("M", bound="Model")


class Objects:
    """The attribute `objects` of a class. Queries are imported with the first: who only adds objects makes none."""

    @overload
    def __get__(self, instance: None, owner: type[M]) -> Manager[M]: ...
    @overload
    def __get__(self, instance: M, owner: type[M]) -> Manager[M]: ...
    def __get__(self, instance: M | None, owner: type[M]) -> Manager[M]:
        from balsam.manager import Manager

        return Manager(owner)


class Model:
    """An object that the job store keeps. Subclasses say what its fields are and how it is stored.

    An object holds the values that are not at their defaults, and, for those that were changed or handed out for
    change, what the store is known to hold.
    """

    __slots__ = ("__weakref__", "_complete", "_originals", "_stored", "_values")

    _kind: ClassVar[str]
    _table: ClassVar[Mapping[str, Field]]
    _attributes: ClassVar[Mapping[str, Attribute]]
    _default_order: ClassVar[tuple[str, ...]]
    _missing: ClassVar[type[NotFound]]
    _bound: ClassVar[Client | None] = None

    _values: Values
    _originals: Values
    _stored: bool
    _complete: bool
    """Whether the fields that only the store sets are known."""

    objects = Objects()

    def __init__(self, **fields: Any) -> None:
        values: Values = {}
        table = self._table
        for name, value in fields.items():
            field = table.get(name) or self._field(name)
            if field.phase is Phase.NEVER:
                raise field.error(value, "is read-only")
            values[field.name] = field.check(value)
        self._values = values
        self._originals = {}
        self._stored = False
        self._complete = False

    # Classes

    @classmethod
    def _bind(cls, client: Client) -> type[Self]:
        """This class, for the objects of one site."""
        return type(cls.__name__, (cls,), {"__slots__": (), "__doc__": cls.__doc__, "_bound": client})

    @classmethod
    def _client(cls) -> Client:
        """The site of this class; found now if it is not bound to one."""
        if cls._bound is not None:
            return cls._bound
        from balsam.client import default_client

        return default_client()

    @classmethod
    def _field(cls, name: str) -> Field:
        if name == "pk":
            name = cls._identity_field()
        if name not in cls._table:
            raise unknown_field(name, cls._table, cls._kind)
        return cls._table[name]

    @classmethod
    def _identity_field(cls) -> str:
        return next(iter(cls._table))

    @classmethod
    def _is_one(cls, value: object) -> bool:
        """Whether `value` is an object of this kind, of whatever site."""
        return isinstance(value, Model) and value._kind == cls._kind

    @classmethod
    def _from_values(cls, values: Values) -> Self:
        """The object that the store holds, from its values."""
        instance = cls.__new__(cls)
        instance._values = values
        instance._originals = {}
        instance._stored = instance._complete = True
        return instance

    # What queries and saving need of a subclass

    @classmethod
    def _calls(cls) -> Any:
        """The calls about this kind of object, at its site."""
        raise NotImplementedError

    @classmethod
    def _as_stored(cls, fields: Mapping[str, Any]) -> Values:
        """Fields as the store holds them."""
        return dict(fields)

    @classmethod
    def _create_many(cls, instances: Sequence[Any]) -> None:
        """Stores new objects, all or none."""
        raise NotImplementedError

    def _fetch(self) -> Values:
        """The values that the store holds. Raises DoesNotExist."""
        raise NotImplementedError

    # Identity

    @property
    def pk(self) -> Any:
        """The identity."""
        return getattr(self, self._identity_field())

    def _identity(self) -> str:
        return str(self._values.get(self._identity_field(), ""))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Model) or other._kind != self._kind:
            return NotImplemented
        # What is not stored yet may have no identity.
        return self is other or (self._identity() != "" and self._identity() == other._identity())

    def __hash__(self) -> int:
        return hash(self._identity())

    def __reduce__(self) -> tuple[Any, ...]:
        site = None if self._bound is None else str(self._bound.site.path)
        state = (self._values, self._originals, self._stored, self._complete)
        return _restore, (self._kind, site, copy.deepcopy(state))

    # Fields

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            object.__setattr__(self, name, value)
        except AttributeError:
            if hasattr(type(self), name):
                raise ValidationError(f"{name} of {self._kind} is read-only", field=name) from None
            raise unknown_field(name, self._table, self._kind) from None

    def changed_fields(self) -> list[str]:
        """Names of the fields that were changed since the object was loaded or saved."""
        return [name for name in list(self._originals) if self._attributes[name].changed(self)]

    def _chosen_fields(self, update_fields: Iterable[str] | None) -> list[str]:
        """The fields that a save sends."""
        if update_fields is None:
            return self.changed_fields()
        if isinstance(update_fields, str):
            raise ValidationError(f"update_fields = {update_fields!r}: must be a list of names")
        return [self._changeable(name).name for name in update_fields]

    @classmethod
    def _changeable(cls, name: str) -> Field:
        field = cls._field(name)
        if field.phase in (Phase.NEVER, Phase.CREATION):
            raise ValidationError(f"{field.name} cannot be changed: it is {field.phase.value}", field=field.name)
        return field

    def _checked_values(self, names: Iterable[str]) -> Values:
        """The values of some fields; what can be changed in place is checked again."""
        return {name: self._attributes[name].checked(self) for name in names}

    def _has_stored(self, values: Values) -> None:
        """The store has taken these values, which were checked."""
        self._stored = True
        for name, value in values.items():
            self._attributes[name].stored(self, value)

    def refresh_from_db(self, fields: Iterable[str] | None = None) -> None:
        """Reads all fields again, or those named; changes to them that were not saved are lost.

        Raises:
            DoesNotExist: the object was deleted.
        """
        names = None if fields is None else [self._field(field).name for field in fields]
        values = self._fetch()
        if names is None:
            self._values, self._originals, self._complete = values, {}, True
        else:
            self._take(names, values)

    def _load_output(self) -> None:
        """Reads what only the store sets; the rest stays as it is."""
        self._take([name for name, field in self._table.items() if field.phase is Phase.NEVER], self._fetch())
        self._complete = True

    def _take(self, names: Iterable[str], values: Values) -> None:
        for name in names:
            self._originals.pop(name, None)
            self._values.pop(name, None)
            if name in values:
                self._values[name] = values[name]

    def _same(self, key: Key) -> Node:
        """The condition that an object has the same value of a sort key as this one."""
        from balsam.query import Test, any_of
        from balsam.rows import walk

        value = self._values.get(key.field, self._table[key.field].default)
        if key.path:
            value = walk(json.loads(value) if isinstance(value, str) else value, key.path)
        if value is None:
            missing = Test(key.field, key.path, "ISNULL", (True,))
            return any_of([missing, Test(key.field, key.path, "EXACT", (None,))]) if key.path else missing
        return Test(key.field, key.path, "EXACT", (value,))


def give_attributes(cls: type[Model], special: Mapping[str, type[Attribute]]) -> None:
    """Gives a class an attribute for each field of its table."""
    cls._attributes = {name: special.get(name, Attribute)(field) for name, field in cls._table.items()}
    for name, attribute in cls._attributes.items():
        setattr(cls, name, attribute)


def _restore(kind: str, site: str | None, state: tuple[Values, Values, bool, bool]) -> Model:
    """Unpickles an object; one of a certain site belongs to that site again."""
    import balsam

    owner: Any = balsam if site is None else balsam.connect(site)
    values, originals, *flags = state
    instance: Model = getattr(owner, kind)._from_values(values)
    instance._originals = originals
    instance._stored, instance._complete = flags
    return instance
