"""The file of an export: JSON, one object to a line, so that what is damaged or missing is noticed and named.

The first line is the header, the last one the end, with counts and a SHA-256 of all lines before it. Every line ends
with a CRC-32 of itself: ``{"job":{...},"crc":"1c291ca3"}``.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from balsam.errors import ValidationError
from balsam.version import VERSION

FORMAT = 1
MAX_LINE_BYTES = 256 * 1024 * 1024
EXPORT, ARCHIVE = "export", "archive"

_CRC = b',"crc":"'
_TAIL = len(_CRC) + 10  # eight digits, quote, brace
_COUNTED = {"application": "applications", "launch": "launches", "job": "jobs"}


def _line(kind: str, value: Mapping[str, Any]) -> bytes:
    text = json.dumps({kind: value}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))[:-1].encode()
    return text + _CRC + b'%08x"}\n' % zlib.crc32(text)


class Writer:
    """Makes the lines of a file, and keeps account of them for the last one."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._counts: Counter[str] = Counter(dict.fromkeys((*_COUNTED.values(), "events", "edges"), 0))

    def line(self, kind: str, value: Mapping[str, Any]) -> bytes:
        """A line; `kind` is ``header``, ``application``, ``launch`` or ``job``."""
        _count(self._counts, kind, value)
        line = _line(kind, value)
        self._digest.update(line)
        return line

    def end(self) -> bytes:
        """The last line."""
        return _line("end", {**self._counts, "sha256": self._digest.hexdigest()})


def _count(counts: Counter[str], kind: str, value: Mapping[str, Any]) -> None:
    if kind in _COUNTED:
        counts[_COUNTED[kind]] += 1
    if kind == "job":
        counts["events"] += len(value["history"])
        counts["edges"] += len(value["parents"])


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its number, from 1, and what it holds."""

    number: int
    kind: str
    value: dict[str, Any]


class Reader:
    """Takes a file in pieces and gives its lines, each of them checked."""

    def __init__(self) -> None:
        self.header: dict[str, Any] = {}
        """Known as soon as the first line has come."""
        self._digest = hashlib.sha256()
        self._counts: Counter[str] = Counter()
        self._rest = b""
        self._number = 0
        self._ended = False

    def feed(self, content: bytes) -> Iterator[Line]:
        """The lines that a piece completes, without header and end.

        Raises:
            ValidationError: a line is damaged, or of a format that this version does not read; names the line.
        """
        *lines, rest = (self._rest + content).split(b"\n") if b"\n" in content else [self._rest + content]
        if len(rest) > MAX_LINE_BYTES:
            raise self._damaged(self._number + 1, f"it is longer than {MAX_LINE_BYTES} bytes")
        self._rest = rest
        for text in lines:
            line = self._take(text)
            if line is not None:
                yield line

    def _take(self, text: bytes) -> Line | None:
        self._number += 1
        if self._ended:
            raise self._damaged(self._number, "something follows the end")
        kind, value = self._parsed(text)
        if kind == "header":
            self.header = value
        elif kind == "end":
            self._check_end(value)
            return None
        self._digest.update(text + b"\n")
        if kind == "header":
            return None
        try:
            _count(self._counts, kind, value)
        except (KeyError, TypeError):
            raise self._damaged(self._number, "it is no job with parents and a history") from None
        return Line(self._number, kind, value)

    def _parsed(self, text: bytes) -> tuple[str, dict[str, Any]]:
        first = self._number == 1
        try:
            record = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            record = None
        if first:
            _check_header(record)
        if (
            text[-_TAIL : -_TAIL + len(_CRC)] != _CRC
            or text[-10:-2] != b"%08x" % zlib.crc32(text[:-_TAIL])
            or not isinstance(record, dict)
            or len(record) != 2
        ):
            raise self._damaged(self._number, "it does not match its checksum")
        kind = next(iter(record))
        if (kind == "header") != first or kind not in ("header", "end", *_COUNTED) or type(record[kind]) is not dict:
            raise self._damaged(self._number, f"{kind!r} is not expected there")
        return kind, record[kind]

    def _check_end(self, end: Mapping[str, Any]) -> None:
        if end.get("sha256") != self._digest.hexdigest():
            raise self._damaged(self._number, "lines before it are missing, or in another order")
        wrong = [name for name, count in self._counts.items() if end.get(name) != count]
        if wrong:
            raise self._damaged(self._number, f"it counts other {wrong[0]} than there are")
        self._ended = True

    def finish(self) -> None:
        """The file has ended. Raises ValidationError if it is cut off."""
        if self._rest or not self._ended:
            last = self._number + bool(self._rest)
            raise self._damaged(last, "it is the last, so the file is cut off") if last else _no_export()

    @staticmethod
    def _damaged(number: int, what: str) -> ValidationError:
        return ValidationError(
            f"line {number} of the file is damaged: {what}; take another copy of it", reason="DAMAGED", field="line"
        )


def _refuse(name: str) -> None:
    raise ValueError(name)


def _no_export() -> ValidationError:
    return ValidationError("this is not a file that `balsam export` or `balsam archive` has written", field="file")


def _check_header(record: Any) -> None:
    header = record.get("header") if isinstance(record, dict) else None
    number = header.get("format") if isinstance(header, dict) else None
    if type(number) is not int:
        raise _no_export()
    if number != FORMAT:
        raise ValidationError(
            f"the file has format {number}, written by Balsam {str(header.get('balsam'))[:40]}; this is Balsam "  # type: ignore[union-attr]
            f"{VERSION}, which reads format {FORMAT}: use {'a newer' if number > FORMAT else 'an older'} Balsam",
            reason="FORMAT",
            field="format",
        )
