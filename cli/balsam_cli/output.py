"""What a command prints: one set of records, as tables for people or as one JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from balsam_cli import terminal
from balsam_cli.table import GAP, Line, folded, painted, table, width_of
from balsam_cli.text import one_line, printable

if TYPE_CHECKING:
    from rich.console import Console

Record = dict[str, Any]

_NO_LIMIT = 100_000  # columns: what is not a terminal gets whole lines


class Column(NamedTuple):
    """A column of a table: its title, and the text that stands in it for a record."""

    title: str
    text: Callable[[Record], str]
    right: bool = False
    style: Callable[[Record], str] | None = None
    flexible: bool = False
    """Shortened first, when the terminal is narrow."""


class Listing(NamedTuple):
    """Records in rows under columns, with an optional title."""

    columns: Sequence[Column]
    records: Iterable[Record]
    title: str = ""


class Facts(NamedTuple):
    """Names and their values, one to a line."""

    pairs: Sequence[tuple[str, str]]
    title: str = ""


class Lines(NamedTuple):
    """Lines of text as they are."""

    lines: Iterable[str]
    title: str = ""


Block = Listing | Facts | Lines


class Printer(Protocol):
    """Where the results of a command go."""

    def rows(self, listing: Listing) -> None:
        """A list of records."""

    def one(self, record: Record, *blocks: Block) -> None:
        """One record; `blocks` is how it looks to people."""

    def ids(self, ids: Iterable[str]) -> None:
        """Ids of what was made."""


class JsonPrinter:
    """One JSON document on stdout, written as it comes, so that its length costs no memory."""

    def rows(self, listing: Listing) -> None:
        """An array, one object to a line."""
        self._array(listing.records)

    def one(self, record: Record, *blocks: Block) -> None:
        """An object."""
        sys.stdout.write(json.dumps(record, indent=2) + "\n")

    def ids(self, ids: Iterable[str]) -> None:
        """An array of texts."""
        self._array(ids)

    def _array(self, items: Iterable[Any]) -> None:
        separator = "["
        for item in items:
            sys.stdout.write(f"{separator}\n{json.dumps(item)}")
            separator = ","
        sys.stdout.write("[]\n" if separator == "[" else "\n]\n")


class TablePrinter:
    """Tables for people; colour on a terminal only."""

    def rows(self, listing: Listing) -> None:
        """A table."""
        self._print(table_lines(listing, terminal.width()))

    def one(self, record: Record, *blocks: Block) -> None:
        """The blocks, with a blank line between them."""
        for number, block in enumerate(blocks):
            self._print([*([[]] if number else []), *_drawn(block, terminal.width())])

    def ids(self, ids: Iterable[str]) -> None:
        """One to a line."""
        for one in ids:
            sys.stdout.write(f"{one}\n")

    def _print(self, lines: Iterable[Line]) -> None:
        styles = terminal.styles()
        sys.stdout.write("".join(f"{painted(line, styles)}\n" for line in lines))


def _drawn(block: Block, room: int | None) -> Iterator[Line]:
    if block.title:
        yield [(block.title, "bold")]
    if isinstance(block, Listing):
        yield from table_lines(block, room)
    elif isinstance(block, Facts):
        indent = max((width_of(name) for name, _ in block.pairs), default=0) + GAP
        for name, value in block.pairs:
            yield from folded(name, printable(value), indent, room)
    else:
        yield from ([(printable(line), "")] for line in block.lines)


def table_lines(listing: Listing, room: int | None) -> list[Line]:
    """The lines of a listing, for a terminal of some width, or for none."""
    columns = listing.columns
    return table(
        [column.title for column in columns],
        [
            [(one_line(column.text(record)), column.style(record) if column.style else "") for column in columns]
            for record in listing.records
        ],
        right=[column.right for column in columns],
        flexible=[column.flexible for column in columns],
        room=room,
    )


def printer(as_json: bool) -> Printer:
    """The printer that the user asked for."""
    return JsonPrinter() if as_json else TablePrinter()


def console() -> Console:
    """Stdout as rich sees it, for what is drawn again and again; no width where it is not a terminal."""
    from rich.console import Console

    plain = {} if sys.stdout.isatty() else {"width": _NO_LIMIT, "color_system": None}
    return Console(highlight=False, markup=False, emoji=False, **plain)  # type: ignore[arg-type]


_STATE_STYLES = {"RUNNING": "cyan", "JOB_FINISHED": "green", "FAILED": "red", "USER_KILLED": "magenta"} | dict.fromkeys(
    ("RUN_ERROR", "RUN_TIMEOUT"), "yellow"
)


def state_style(record: Record) -> str:
    """Colour of a record's ``state``."""
    return _STATE_STYLES.get(str(record.get("state", "")), "")
