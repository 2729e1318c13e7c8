"""The filter of the job table, as it stands in the URL. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping

from balsam.errors import ValidationError
from balsam.query import Key, Node, Test, all_of
from balsam.states import State

PAGE = 50
MOST_ROWS = 200

ORDERS: Mapping[str, tuple[Key, ...]] = {"newest": (Key("create_time", descending=True),), "oldest": ()}
"""Both follow the key under which jobs lie in the database: no page of a million jobs is sorted."""

_TEXTS = {"name": "name", "wf": "workflow", "app": "application", "owner": "owner"}
"""Parameter of the URL -> field; its value is exact, or a glob when it holds `*` or `?`."""
_ID = re.compile(r"[0-9a-f][0-9a-f-]{0,35}")


def conditions(given: Mapping[str, str]) -> Node:
    """Which jobs are wanted, from the parameters of the URL; what is empty or no filter counts for nothing.

    Raises:
        ValidationError: a state does not exist, or an id cannot be the start of one.
    """
    tests: list[Node] = []
    if states := [_state(name) for name in given.get("state", "").split(",") if name.strip()]:
        tests.append(Test("state", (), "IN", tuple(states)))
    for name, field in _TEXTS.items():
        if value := given.get(name, "").strip():
            tests.append(Test(field, (), "GLOB" if "*" in value or "?" in value else "EXACT", (value,)))
    if prefix := given.get("id", "").strip().lower():
        if not _ID.fullmatch(prefix):
            raise ValidationError(f"id = {prefix!r}: is not the start of a job id", field="id")
        tests.append(Test("job_id", (), "STARTSWITH", (prefix,)))
    return all_of(tests)


def _state(name: str) -> str:
    name = name.strip().upper()
    if name not in State.__members__:
        states = ", ".join(State.__members__)
        raise ValidationError(f"state = {name!r}: does not exist (states: {states})", field="state")
    return name


def order(given: Mapping[str, str]) -> tuple[Key, ...]:
    """In which order. Raises ValidationError."""
    name = given.get("order", "") or "newest"
    if name not in ORDERS:
        raise ValidationError(f"order = {name!r}: must be one of {', '.join(ORDERS)}", field="order")
    return ORDERS[name]


def rows(given: Mapping[str, str]) -> int:
    """How many rows make a page. Raises ValidationError."""
    text = given.get("rows", "") or str(PAGE)
    if not text.isdecimal() or not 1 <= int(text) <= MOST_ROWS:
        raise ValidationError(f"rows = {text!r}: must be 1 to {MOST_ROWS}", field="rows")
    return int(text)
