"""Amounts of bytes: how much an answer holds, which gRPC refuses to send beyond `balsam.rpc.MAX_MESSAGE_BYTES`.

Rows are counted by the lengths of their texts, as they come from the database: that costs next to nothing where they
are short, and what is large is not made into a message first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

MOST_BYTES = 8 * 1024 * 1024
"""Of the rows of one answer, where they are more than one: half of a message, for their numbers count little here."""
_NUMBER_BYTES = 4
_STRUCTURED = frozenset({dict, list})
"""What PostgreSQL's JSON becomes."""
ID_BYTES = 40
"""Of the id of a job, as text in a message."""


def bytes_of(text: str) -> int:
    """Length of a text in UTF-8 [bytes]."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def bytes_of_row(values: Sequence[object]) -> int:
    """About how many bytes values of a row take in a message; those of JSON as their text."""
    total = bytes_of("".join([value for value in values if type(value) is str]))
    if not _STRUCTURED.isdisjoint(map(type, values)):
        structured = [value for value in values if type(value) in _STRUCTURED]
        total += bytes_of(json.dumps(structured, ensure_ascii=False))
    return total + _NUMBER_BYTES * len(values)


def cut(text: str, most: int) -> str:
    """The beginning of a text, of at most so many bytes in UTF-8, and in whole characters."""
    if bytes_of(text) <= most:
        return text
    return text.encode(errors="replace")[:most].decode(errors="ignore")


class Room:
    """Counts down what an answer may still hold. The first item always finds room: there is progress.

    Args:
        most: how much there is [bytes]; None: `MOST_BYTES`.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = MOST_BYTES if most is None else most
        self.used = 0
        """So much is taken [bytes]."""

    def takes(self, size: int) -> bool:
        """Takes an item of this size [bytes], if there is room for it."""
        if self.used and self.used + size > self._most:
            return False
        self.used += max(size, 1)
        return True
