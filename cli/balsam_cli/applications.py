"""Applications: their paths, and several of them registered together."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from balsam.client import Client
from balsam.commands import split
from balsam.errors import BalsamError, Conflict, NotFound
from balsam.fields import APPLICATION_FIELDS

_PATHS = ("executable", "preprocess", "postprocess", "envscript")


def absolute(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, where a first word that names an existing file by a relative path is made absolute."""
    return {name: _absolute(value) if name in _PATHS else value for name, value in fields.items()}


def _absolute(text: str) -> str:
    first = next(iter(split(text)), "")
    # A bare word is looked up on PATH when it runs, not here; a quoted one is left as it was written.
    if "/" not in first or first.startswith(("/", "~", "$")) or not text.startswith(first):
        return text
    return os.path.abspath(first) + text[len(first) :] if os.path.exists(first) else text


def create(store: Client, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Registers an application; returns its fields. Raises Conflict if the name is taken."""
    return store.applications.create({"python": sys.executable, **absolute(fields)})


@contextlib.contextmanager
def added(store: Client, drafts: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """Registers applications; takes back those that were new when what follows fails.

    Raises:
        Conflict: one exists with other values.
    """
    made: list[str] = []
    try:
        for draft in drafts:
            if _is_new(store, draft):
                made.append(str(create(store, draft)["name"]))
        yield
    except BaseException:
        for name in made:
            with contextlib.suppress(BalsamError):
                store.applications.delete(name)
        raise


def _is_new(store: Client, draft: Mapping[str, Any]) -> bool:
    try:
        existing = store.applications.get(str(draft.get("name", "")))
    except NotFound:
        return True
    for field, value in absolute(draft).items():
        found = existing.get(field, APPLICATION_FIELDS[field].default)
        if found != value:
            raise Conflict(
                f"application {draft['name']!r} exists with {field} = {found!r}, not {value!r};"
                " change it with `balsam app --update` or use another name"
            )
    return False
