"""What a command prints: one set of records, as tables for people or as one JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from balsam_cli.text import one_line, printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

Record = dict[str, Any]

_NO_LIMIT = 100_000  # columns: what is not a terminal gets whole lines
_GAP = 2  # columns between two of a table
_SHORTENED = 8  # columns of a text from which it can be told


class Column(NamedTuple):
    """A column of a table: its title, and the text that stands in it for a record."""

    title: str
    text: Callable[[Record], str]
    right: bool = False
    style: Callable[[Record], str] | None = None
    flexible: bool = False
    """Shortened first, when the terminal is narrow."""
    spare: bool = False
    """Left out, when the terminal is too narrow for what matters most."""


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
        self._print([rich_table(listing)])

    def one(self, record: Record, *blocks: Block) -> None:
        """The blocks, with a blank line between them."""
        for number, block in enumerate(blocks):
            self._print([*([""] if number else []), *_drawn(block)])

    def ids(self, ids: Iterable[str]) -> None:
        """One to a line."""
        for one in ids:
            sys.stdout.write(f"{one}\n")

    def _print(self, parts: Iterable[RenderableType]) -> None:
        screen = console()
        if sys.stdout.isatty():
            screen.print(*parts, sep="\n")
            return
        with screen.capture() as capture:
            screen.print(*parts, sep="\n")
        # Columns are padded with blanks, of which only a terminal has no need to be spared.
        sys.stdout.writelines(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _drawn(block: Block) -> Iterator[RenderableType]:
    from rich.text import Text

    if block.title:
        yield Text(one_line(block.title), style="bold")
    if isinstance(block, Listing):
        yield rich_table(block)
    elif isinstance(block, Facts):
        yield _rich_facts(block)
    else:
        yield from (Text(printable(line), overflow="fold") for line in block.lines)


def printer(as_json: bool) -> Printer:
    """The printer that the user asked for."""
    return JsonPrinter() if as_json else TablePrinter()


def console() -> Console:
    """Stdout as rich sees it: without a width where it is not a terminal, so that nothing is cut."""
    from rich.console import Console

    plain = {} if sys.stdout.isatty() else {"width": _NO_LIMIT, "color_system": None}
    return Console(highlight=False, markup=False, emoji=False, **plain)  # type: ignore[arg-type]


def rich_table(listing: Listing) -> Table:
    """The table of a listing."""
    from rich.table import Table
    from rich.text import Text

    records = list(listing.records)
    width = console().width
    columns = _that_fit(listing.columns, records, width)
    narrowed = _narrowed(columns, records, width)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            # Rich shortens the columns that may wrap before it touches the others; the texts do not wrap.
            no_wrap=not column.flexible,
            min_width=narrowed.get(column, len(column.title)),
            max_width=narrowed.get(column),
        )
    for record in records:
        cells = [(one_line(column.text(record)), column.style) for column in columns]
        table.add_row(
            *(
                Text(text, style=style(record) if style else "", no_wrap=True, overflow="ellipsis")
                for text, style in cells
            )
        )
    return table


def _that_fit(columns: Sequence[Column], records: Sequence[Record], width: int) -> Sequence[Column]:
    """All columns, or those that fit into so many cells: first spare ones without any text go, then the last ones."""
    spare = [column for column in columns if column.spare]
    if width >= _NO_LIMIT or not spare:
        return columns
    needed = {column: _cells_needed(column, records) for column in columns}
    is_empty = {column: not any(column.text(record) for record in records) for column in spare}
    left_out: list[Column] = []
    for column in sorted(spare, key=lambda column: (not is_empty[column], -spare.index(column))):
        if sum(cells + _GAP for column, cells in needed.items() if column not in left_out) <= width:
            break
        left_out.append(column)
    return [column for column in columns if column not in left_out]


def _narrowed(columns: Sequence[Column], records: Sequence[Record], width: int) -> dict[Column, int]:
    """Cells of each flexible column, where not all of a table fits into so many: the widest is narrowed first.

    Rich, left to itself, makes them equally narrow, also less than their titles, and then cuts the table at its right.
    """
    if width >= _NO_LIMIT:
        return {}
    cells = {column: max(len(column.title), min(_widest(column, records), width)) for column in columns}
    too_many = sum(cells.values()) + _GAP * len(columns) - width  # rich counts a gap after the last one, too
    flexible = {column: cells[column] for column in columns if column.flexible}
    for _ in range(max(0, too_many)):
        ahead = [column for column in flexible if flexible[column] > len(column.title)]
        if not ahead:
            break
        flexible[max(ahead, key=lambda column: flexible[column])] -= 1
    return flexible if too_many > 0 else {}


def _cells_needed(column: Column, records: Sequence[Record]) -> int:
    """Cells without which a column says nothing: all of its widest text, or some of it where that may be shortened."""
    widest = _widest(column, records)
    return max(len(column.title), min(widest, _SHORTENED) if column.flexible else widest)


def _widest(column: Column, records: Sequence[Record]) -> int:
    from rich.cells import cell_len

    return max((cell_len(one_line(column.text(record))) for record in records), default=0)


def _rich_facts(facts: Facts) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.pairs:
        table.add_row(name, Text(printable(value)))
    return table


_STATE_STYLES = {"RUNNING": "cyan", "JOB_FINISHED": "green", "FAILED": "red", "USER_KILLED": "magenta"} | dict.fromkeys(
    ("RUN_ERROR", "RUN_TIMEOUT"), "yellow"
)


def state_style(record: Record) -> str:
    """Colour of a record's ``state``."""
    return _STATE_STYLES.get(str(record.get("state", "")), "")
