"""Values in conditions: what a lookup may be given for which field, and the form in which it is sent."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from balsam.fields import Field, Kind, check_id
from balsam.states import State

MAX_REGEX = 200
"""Characters of a regular expression."""
_MAX_INT64 = 2**63 - 1

_EQUAL = ("exact", "in", "isnull")
_ORDER = ("gt", "gte", "lt", "lte", "range")
_PARTS = ("iexact", "contains", "icontains", "startswith", "istartswith", "endswith", "iendswith", "regex", "glob")
_ORDERED = (*_EQUAL, *_ORDER)
_TEXT = (*_EQUAL, *_ORDER, *_PARTS)
_CHOICE = (*_EQUAL, *_PARTS)

_LOOKUPS: Mapping[Kind, tuple[str, ...]] = {
    Kind.TEXT: _TEXT,
    Kind.ID: _TEXT,
    Kind.STATE: _CHOICE,
    Kind.JSON: _TEXT,
    Kind.INTEGER: _ORDERED,
    Kind.LAUNCH: _EQUAL,
    Kind.NUMBER: _ORDERED,
    Kind.TIME: _ORDERED,
    Kind.BOOLEAN: _EQUAL,
    Kind.IDS: (*_EQUAL, "contains", "icontains"),
    Kind.ENVIRON: (),
}


def lookups(field: Field) -> tuple[str, ...]:
    """The lookups that a field has."""
    return _CHOICE if is_choice(field) else _LOOKUPS[field.kind]


def is_choice(field: Field) -> bool:
    """Whether the field has one of a few fixed values."""
    return field.kind is Kind.STATE or bool(field.choices)


def is_part(lookup: str) -> bool:
    """Whether a lookup looks into a text."""
    return lookup in _PARTS


def passing_choices(field: Field, lookup: str, value: Any) -> tuple[str, ...]:
    """Which of the few values of a field pass a test of their text."""
    if lookup == "regex":
        value = getattr(value, "pattern", value)
        _check_regex(field, value)
    else:
        value = _text(field, value)
    choices = field.choices or State.__members__
    passes = _PASSES[lookup.removeprefix("i")]
    return tuple(name for name in choices if passes(*_cased(lookup, name, value)))


def _cased(lookup: str, name: str, value: str) -> tuple[str, str]:
    return (name.lower(), value.lower()) if lookup.startswith("i") else (name, value)


def _globbed(name: str, pattern: str) -> bool:
    parts = [{"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern]
    return re.fullmatch("".join(parts), name, re.DOTALL) is not None


_PASSES: dict[str, Callable[[str, str], bool]] = {
    "exact": lambda name, value: name == value,
    "contains": lambda name, value: value in name,
    "startswith": str.startswith,
    "endswith": str.endswith,
    "regex": lambda name, value: re.search(value, name) is not None,
    "glob": _globbed,
}


def values(field: Field, key: str, lookup: str, value: Any) -> tuple[Any, ...]:
    """The values that ``key=value`` compares with, converted.

    Raises:
        ValidationError: they do not fit the field, or the lookup.
    """
    convert = _checked if is_choice(field) else _text if lookup in _PARTS else _CONVERT[field.kind]
    if lookup not in ("in", "range"):
        if lookup == "regex":
            value = getattr(value, "pattern", value)
            _check_regex(field, value)
        return (convert(field, value),)
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise field.error(value, f"{key} takes a list")
    items = tuple(convert(field, item) for item in value)
    if lookup == "range" and len(items) != 2:
        raise field.error(value, f"{key} takes two values, the least and the greatest")
    return items


def _check_regex(field: Field, value: Any) -> None:
    if not isinstance(value, str):
        raise field.error(value, "a regular expression is a text")
    if len(value) > MAX_REGEX:
        raise field.error(value, f"a regular expression has at most {MAX_REGEX} characters")
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise field.error(value, f"is not a regular expression: {error}") from None


def _text(field: Field, value: Any) -> str:
    if field.kind is Kind.ID and hasattr(value, "hex"):
        value = str(value)
    if not isinstance(value, str):
        raise field.error(value, "must be a text")
    if "\0" in value:
        raise field.error(value, "holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise field.error(value, "holds a lone surrogate, which is no text") from None
    return value


def _id(field: Field, value: Any) -> str:
    return check_id(getattr(value, "job_id", value), field.name)


def _number(field: Field, value: Any) -> int | float:
    if isinstance(value, str):
        return _number(field, _parsed(field, value))
    if isinstance(value, bool):
        raise field.error(value, "must be a number")
    if hasattr(value, "__index__"):
        value = int(value)
        if abs(value) > _MAX_INT64:
            raise field.error(value, "is too large a number")
        return int(value)
    if not hasattr(value, "__float__"):
        raise field.error(value, "must be a number")
    number = float(value)
    if math.isnan(number):
        raise field.error(value, "is not a number")
    return number


def _parsed(field: Field, value: str) -> int | float:
    for parse in (int, float):
        try:
            return parse(value)
        except ValueError:
            continue
    raise field.error(value, "must be a number")


def _time(field: Field, value: Any) -> datetime:
    """A time; one without a time zone is local time, as in Python itself."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise field.error(value, "must be a time, as in 2030-12-31T23:59:59Z") from None
    elif not isinstance(value, datetime) and hasattr(value, "timetuple"):
        value = datetime(*value.timetuple()[:3])
    if not isinstance(value, datetime):
        raise field.error(value, "must be a datetime")
    try:
        return value.astimezone(UTC)
    except (OverflowError, ValueError, OSError):
        raise field.error(value, "is out of range") from None


def _json_value(field: Field, value: Any) -> Any:
    if isinstance(value, str):
        return _text(field, value)
    if isinstance(value, bool):
        return value
    if isinstance(value, (Mapping, list, tuple)) or value is None:
        raise field.error(value, "data is compared with texts, numbers, true and false")
    return _number(field, value)


def _checked(field: Field, value: Any) -> Any:
    return field.check(value)


_CONVERT: dict[Kind, Callable[[Field, Any], Any]] = {
    Kind.TEXT: _text,
    Kind.ID: _id,
    Kind.IDS: _id,
    Kind.BOOLEAN: _checked,
    Kind.INTEGER: _number,
    Kind.LAUNCH: _checked,
    Kind.NUMBER: _number,
    Kind.TIME: _time,
    Kind.JSON: _json_value,
}
