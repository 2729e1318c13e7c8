"""Index ranges, as in `--array 0-99`, and the `{i}` that stands for the index. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from balsam.errors import ValidationError

MOST = 1_000_000
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?")
_REPLACED = ("name", "args")


def indexes(text: str) -> list[int]:
    """The numbers of ``0-99``, ``1-3,8`` or ``0-100:10``, in that order, without repeats.

    Raises:
        ValidationError: it is none of these, runs backwards, or has more than a million indexes.
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValidationError(f"--array {text!r}: {part!r} is no index or range, as in 0-99, 1-3,8 or 0-100:10")
        first = int(match[1])
        last, step = int(match[2] or first), int(match[3] or 1)
        if last < first or step < 1:
            raise ValidationError(f"--array {text!r}: {part!r} runs backwards or has no step")
        if (last - first) // step >= MOST:
            raise ValidationError(f"--array {text!r}: more than {MOST:,} indexes")
        found |= dict.fromkeys(range(first, last + 1, step))
    return list(found)


def expand(fields: dict[str, Any], numbers: list[int]) -> Iterator[dict[str, Any]]:
    """One set of fields for each index, with `{i}` replaced in name and args."""
    for number in numbers:
        yield fields | {
            name: fields[name].replace("{i}", str(number)) for name in _REPLACED if "{i}" in fields.get(name, "")
        }
