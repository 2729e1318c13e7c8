"""How much a request may hold: for every text and every list in it a limit, checked before anything is done with it.

What is a field of a job, an application, a launch or a report is checked where its value is (`balsam.fields`, and the
job store's `convert`), and so are filters. For all else a limit holds that follows from the kind of the field, or from
the tables here. A message as a whole has at most `balsam.rpc.MAX_MESSAGE_BYTES`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from balsam.errors import ValidationError

MOST_CHARACTERS = 1000
"""Of a text."""
MOST_ITEMS = 10_000
"""Of a list."""

BY_NAME: Mapping[str, int] = {
    "page_token": 1_000_000,  # holds the sort keys of a row, whatever they are
    "order_by": 16,
    "group_by": 16,
    "path": 100,
    "paths": 1000,
}
"""Name of a field -> its limit."""

BY_FIELD: Mapping[str, int] = {
    "CreateJobsRequest.jobs": 100_000,
    "Ids.job_ids": 200_000,
    "UpdateJobsRequest.updates": 100_000,
    "ChangeDependenciesRequest.add": 100_000,
    "ChangeDependenciesRequest.remove": 100_000,
    "EventFilter.job_ids": 100_000,
    "Attach.held": 1_000_000,
    "Reports.reports": 100_000,
    "RecoverReportsRequest.reports": 100_000,
}
"""Message.field -> its limit."""

CUT: frozenset[str] = frozenset({"message", "node"})
"""Texts for people, and names of nodes, which are cut where they are recorded."""

CHECKED_ELSEWHERE: frozenset[str] = frozenset({"Job", "JobUpdate", "Application", "Launch", "Report", "Filter"})
"""Messages whose fields are checked where they are used, and not here."""

_TEXTS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def limit_of(field: FieldDescriptor) -> int | None:
    """The most characters of a text, or items of a list; None: it has no limit of its own."""
    if not _is_list(field) and (field.type != FieldDescriptor.TYPE_STRING or field.name in CUT):
        return None
    default = MOST_ITEMS if _is_list(field) else MOST_CHARACTERS
    owner = field.containing_type
    return BY_FIELD.get(f"{owner.name if owner else ''}.{field.name}", BY_NAME.get(field.name, default))


def _is_list(field: FieldDescriptor) -> bool:
    # Newer versions of protobuf have the first, and warn of the second.
    is_repeated = getattr(field, "is_repeated", None)
    return bool(getattr(field, "label", 0) == FieldDescriptor.LABEL_REPEATED if is_repeated is None else is_repeated)


def check(message: Any) -> None:
    """Refuses a request that holds too much.

    Raises:
        ValidationError: a text or a list is too long; names the field.
    """
    plan = _plan(message.DESCRIPTOR)
    for field, value in message.ListFields():
        if field.name not in plan:
            continue
        limit, is_list, descends = plan[field.name]
        if limit is not None and len(value) > limit:
            raise _too_long(field, f"{len(value)} {'items' if is_list else 'characters'}", limit)
        if descends:
            for item in value if is_list else (value,):
                check(item)
        elif is_list and field.type in _TEXTS:
            _check_texts(field, value)


def _check_texts(field: FieldDescriptor, texts: Any) -> None:
    longest = max(map(len, texts))
    if longest > MOST_CHARACTERS:
        raise _too_long(field, f"a text of {longest} characters", MOST_CHARACTERS)


def _too_long(field: FieldDescriptor, what: str, limit: int) -> ValidationError:
    return ValidationError(f"{field.name} has {what}; at most {limit} are allowed", field=field.name)


@functools.cache
def _plan(descriptor: Descriptor) -> dict[str, tuple[int | None, bool, bool]]:
    """Field -> its limit, whether it is a list, and whether there is something to check in its messages."""
    plan = {}
    for field in descriptor.fields:
        inner = field.message_type
        descends = inner is not None and inner.name not in CHECKED_ELSEWHERE and _holds_anything(inner)
        limit = limit_of(field)
        if limit is not None or descends:
            plan[field.name] = (limit, _is_list(field), descends)
    return plan


def _holds_anything(descriptor: Descriptor, seen: frozenset[str] = frozenset()) -> bool:
    if descriptor.full_name in seen:
        return False
    seen |= {descriptor.full_name}
    return any(
        limit_of(field) is not None
        or (
            field.message_type is not None
            and field.message_type.name not in CHECKED_ELSEWHERE
            and _holds_anything(field.message_type, seen)
        )
        for field in descriptor.fields
    )
