"""``ApplicationDefinition``: an application as an object."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from balsam import errors
from balsam.errors import NotFound, ValidationError
from balsam.fields import APPLICATION_FIELDS
from balsam.model import Values, give_attributes
from balsam.record import Record

if TYPE_CHECKING:
    from balsam.application_calls import ApplicationCalls


class NoApplication(NotFound):
    """A job has no application, or there is none of that name."""


class ApplicationDefinition(Record):
    """An executable that is registered once and run many times, with the scripts around it.

    The fields are those of `balsam.fields.APPLICATION_FIELDS`; `name` and `executable` are needed.
    Relative paths of files that exist are made absolute when it is saved. While unfinished jobs use it, it stays.
    """

    __slots__ = ()

    _kind = "ApplicationDefinition"
    _table = APPLICATION_FIELDS
    _default_order = ("name",)

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

    @classmethod
    def _to_store(cls, values: Values) -> Values:
        stored = cls._as_stored(values)
        # The interpreter is that of whoever says what is run.
        return stored if stored.keys().isdisjoint(_COMMANDS) else {**stored, "python": sys.executable}

    def _check_new(self) -> None:
        for name in ("name", "executable"):
            if not self._values.get(name):
                raise ValidationError("an application needs name and executable", field=name)


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
