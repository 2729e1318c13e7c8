"""``ApplicationDefinition``: an application as an object."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from balsam import errors
from balsam.errors import NotFound, ValidationError
from balsam.fields import APPLICATION_FIELDS
from balsam.model import Model, Values, give_attributes
from balsam.query import Key, Node
from balsam.rows import cell

if TYPE_CHECKING:
    from balsam.application_calls import ApplicationCalls


class NoApplication(NotFound):
    """A job has no application, or there is none of that name."""


class ApplicationDefinition(Model):
    """An executable that is registered once and run many times, with the scripts around it.

    The fields are those of `balsam.fields.APPLICATION_FIELDS`; `name` and `executable` are needed.
    """

    __slots__ = ()

    _kind = "ApplicationDefinition"
    _table = APPLICATION_FIELDS
    _default_order = (Key("name"),)

    class DoesNotExist(NotFound):
        """There is no such application."""

    class MultipleObjectsReturned(errors.MultipleObjectsReturned):
        """More than one application where one was asked for."""

    _missing = DoesNotExist

    name: str
    executable: str
    description: str
    preprocess: str
    postprocess: str
    envscript: str
    python: str
    owner: str
    create_time: datetime | None
    revision: int

    def __repr__(self) -> str:
        return f"<{self._kind} {self.name}>"

    @property
    def cute_id(self) -> str:
        """The name in brackets, as jobs have it."""
        return f"[{self.name}]"

    @classmethod
    def _calls(cls) -> ApplicationCalls:
        return cls._client().applications

    @classmethod
    def _as_stored(cls, fields: Mapping[str, Any]) -> Values:
        return {name: absolute(value) if name in _COMMANDS else value for name, value in fields.items()}

    def save(self, update_fields: Iterable[str] | None = None) -> None:
        """Registers a new application; of a registered one, stores the fields changed, or `update_fields`.

        Relative paths of files that exist are made absolute.

        Raises:
            ValidationError: name or executable is missing, or the store refuses a value.
            Conflict: a new one, whose name is taken.
        """
        if not self._stored:
            self._create_many([self])
            return
        names = self._chosen_fields(update_fields)
        if not names:
            return
        values = self._as_stored(self._checked_values(names))
        if not values.keys().isdisjoint(_COMMANDS):
            values["python"] = sys.executable
        try:
            self._adopt(self._calls().update(self.name, values), names)
        except NotFound as error:
            raise self.DoesNotExist(str(error)) from None

    def _adopt(self, values: Values, names: Iterable[str]) -> None:
        """Takes what the store now holds; changes of other fields stay."""
        changed = [name for name in self.changed_fields() if name not in set(names)]
        self._take([name for name in self._table if name not in changed], values)

    @classmethod
    def _create_many(cls, instances: Sequence[Any]) -> None:
        for application in instances:
            if not cls._is_one(application):
                raise ValidationError(f"{application!r} is no {cls._kind}")
            application._require("name", "executable")
        for application in instances:
            values = {**cls._as_stored(application._values), "python": sys.executable}
            application._values = cls._calls().create(values)
            application._originals = {}
            application._stored = application._complete = True

    def _require(self, *names: str) -> None:
        for name in names:
            if not self._values.get(name):
                raise ValidationError(f"an application needs {' and '.join(names)}", field=name)

    def delete(self) -> None:
        """Removes the application. Raises NotAllowed while unfinished jobs use it."""
        try:
            self._calls().delete(self.name)
        except NotFound as error:
            raise self.DoesNotExist(str(error)) from None

    def _fetch(self) -> Values:
        try:
            return self._calls().get(self.name)
        except NotFound as error:
            raise self.DoesNotExist(str(error)) from None

    # What queries do with many applications; there are few, so one after the other

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
        for application in found:
            cls._calls().update(application["name"], cls._as_stored(clean))
        return len(found)

    @classmethod
    def _delete_matching(cls, where: Node) -> int:
        found = list(cls._each(where))
        for application in found:
            cls._calls().delete(application["name"])
        return len(found)


_COMMANDS = ("executable", "preprocess", "postprocess", "envscript")


def absolute(command: str) -> str:
    """A command whose first word, if it is the relative path of a file that exists, is made absolute.

    A bare name is left as it is where it is a command on PATH. The rest is kept as it was written.
    """
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        words = []  # the check of the field says what is wrong
    from balsam.commands import find_executable

    first = words[0] if words else ""
    if not first or first.startswith(("/", "~", "$")) or not os.path.isfile(first):
        return command
    if "/" not in first and find_executable(first, os.environ.get("PATH", os.defpath)):
        return command
    path = shlex.quote(os.path.abspath(first))
    if command.startswith(first):
        return path + command[len(first) :]
    return shlex.join([os.path.abspath(first), *words[1:]])


give_attributes(ApplicationDefinition, {})
