"""The fields of an object as attributes: checked when they are set, and compared with what the store holds."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from balsam.fields import Field, Phase

if TYPE_CHECKING:
    from balsam.model import Model

_UNKNOWN = object()  # equal to no value


class Attribute:
    """A field whose value cannot be changed in place."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.name = field.name
        self.__doc__ = field.doc

    def __get__(self, instance: Model | None, owner: type[Model]) -> Any:
        return self if instance is None else instance._values.get(self.name, self.field.default)

    def __set__(self, instance: Model, value: Any) -> None:
        phase = self.field.phase
        if phase is Phase.NEVER or (phase is Phase.CREATION and instance._stored):
            raise self.field.error(value, f"is {phase.value}")
        clean = self.field.check(value)
        instance._originals.setdefault(self.name, self.original(instance))
        instance._values[self.name] = clean

    def original(self, instance: Model) -> Any:
        """A snapshot of the value that the store holds."""
        return self.snapshot(instance._values.get(self.name, self.field.default))

    def snapshot(self, value: Any) -> Any:
        """What `value` is now, to be compared with what it is later."""
        return value

    def changed(self, instance: Model) -> bool:
        """Whether the value differs from what the store is known to hold."""
        if self.name not in instance._originals:
            return False
        now = self.snapshot(instance._values.get(self.name, self.field.default))
        return bool(now != instance._originals[self.name])

    def checked(self, instance: Model) -> Any:
        """The value, to be sent to the store."""
        return instance._values.get(self.name, self.field.default)

    def stored(self, instance: Model, value: Any) -> None:
        """The store has taken `value`, which was checked."""
        instance._originals.pop(self.name, None)
        instance._values[self.name] = value


class MutableAttribute(Attribute):
    """A field whose value can be changed in place, as in ``job.data["x"] = 3``."""

    def __get__(self, instance: Model | None, owner: type[Model]) -> Any:
        return self if instance is None else self.expose(instance)

    def expose(self, instance: Model) -> Any:
        """The value itself, which the caller may change."""
        value = self.load(instance)
        instance._originals.setdefault(self.name, self.snapshot(value))
        return value

    def load(self, instance: Model) -> Any:
        """The value itself; an empty one is put into the object where it had none."""
        if self.name not in instance._values:
            instance._values[self.name] = copy.copy(self.field.default)
        return instance._values[self.name]

    def snapshot(self, value: Any) -> Any:
        return copy.copy(value)

    def checked(self, instance: Model) -> Any:
        value = super().checked(instance)
        return value if isinstance(value, str) else self.field.check(value)

    def stored(self, instance: Model, value: Any) -> None:
        # Somebody may hold the present value, and change it later: it stays the one of this object.
        held = instance._values.get(self.name)
        if isinstance(held, dict):
            held.update(value)  # a check converts values, but neither adds nor drops any
        elif isinstance(held, list):
            held[:] = value
        else:
            instance._values[self.name] = value
        if self.name in instance._originals:
            instance._originals[self.name] = self.original(instance)


class IdAttribute(Attribute):
    """The identity of a job: text inside, a UUID for callers."""

    def __get__(self, instance: Model | None, owner: type[Model]) -> Any:
        import uuid

        return self if instance is None else uuid.UUID(instance._values[self.name])


class OutputAttribute(Attribute):
    """A field that only the store sets: read when it is first looked at after the object was made."""

    def __get__(self, instance: Model | None, owner: type[Model]) -> Any:
        if instance is not None and instance._stored and not instance._complete:
            instance._load_output()
        return super().__get__(instance, owner)


class DataAttribute(MutableAttribute):
    """JSON: text until it is first looked at."""

    def load(self, instance: Model) -> Any:
        value = super().load(instance)
        if isinstance(value, str):
            value = instance._values[self.name] = json.loads(value)
        return value

    def snapshot(self, value: Any) -> Any:
        if isinstance(value, str):
            value = json.loads(value)
        try:
            return json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            return object()  # a change, which the check on saving refuses


def environ_text(variables: dict[str, str]) -> str | dict[str, str]:
    """Variables as ``A=1:B=2`` where that says it exactly, else as they are."""
    if any(":" in name or ":" in value for name, value in variables.items()):
        return variables
    return ":".join(f"{name}={value}" for name, value in variables.items())


class EnvironAttribute(MutableAttribute):
    """Variables: text for callers where text says them exactly."""

    def __get__(self, instance: Model | None, owner: type[Model]) -> Any:
        if instance is None:
            return self
        text = environ_text(self.load(instance))
        return text if isinstance(text, str) else self.expose(instance)


class ParentsAttribute(MutableAttribute):
    """Ids of the parents, read from the store when they are first looked at."""

    def _loaded(self, instance: Model) -> bool:
        return not instance._stored or self.name in instance._values

    def load(self, instance: Model) -> Any:
        if not self._loaded(instance):
            instance._values[self.name] = instance._fetch().get(self.name, [])
        return super().load(instance)

    def original(self, instance: Model) -> Any:
        return super().original(instance) if self._loaded(instance) else _UNKNOWN

    def snapshot(self, value: Any) -> Any:
        return frozenset(str(getattr(item, "job_id", item)) for item in value)
