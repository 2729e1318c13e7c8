"""Text in columns: as wide as what stands in them, and no wider than the terminal. Pure.

Rich does that too, and takes 20 ms to load and 25 ms for a hundred rows: a fifth of what `balsam ls` takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

Span = tuple[str, str]
"""A piece of a line, and its style: words of `CODES`."""
Line = list[Span]

GAP = 2
"""Blanks between columns."""
CODES = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "magenta": "35", "cyan": "36"}
"""What a terminal is told for a style."""


def table(
    titles: Sequence[str],
    rows: Sequence[Sequence[Span]],
    *,
    right: Sequence[bool],
    flexible: Sequence[bool],
    room: int | None = None,
) -> list[Line]:
    """The lines of a table.

    Args:
        rows: a span for each column.
        right: whether a column is aligned to the right.
        flexible: whether a column is shortened before the others, when there is not enough room.
        room: width of the terminal; None: nothing is cut.
    """
    everything = [[(title, "bold") for title in titles], *rows]
    widths = [max(width_of(row[i][0]) for row in everything) for i in range(len(titles))]
    if room is not None:
        widths = fitted(widths, [width_of(title) for title in titles], flexible, room)
    lines = []
    for row in everything:
        line: Line = []
        for i, (text, style) in enumerate(row):
            if i:
                line.append((" " * GAP, ""))
            span = (cut(text, widths[i], "…"), style)
            blanks = (" " * (widths[i] - width_of(span[0])), "")
            line += [blanks, span] if right[i] else [span, blanks]
        lines.append(line if room is None else cropped(line, room))
    return lines


def fitted(widths: Sequence[int], least: Sequence[int], flexible: Sequence[bool], room: int) -> list[int]:
    """The widths of columns that share some room: the widest flexible one is narrowed first, and none below its least.

    The others stay as they are: what matters most comes first, and what then does not fit is cut off at the right.
    """
    narrowed = [
        min(width, max(room, low)) if f else width for width, low, f in zip(widths, least, flexible, strict=True)
    ]
    for _ in range(sum(narrowed) + GAP * (len(narrowed) - 1) - room):
        wide = [i for i, width in enumerate(narrowed) if flexible[i] and width > least[i]]
        if not wide:
            break
        narrowed[max(wide, key=narrowed.__getitem__)] -= 1
    return narrowed


def cropped(line: Iterable[Span], room: int) -> Line:
    """As much of a line as there is room for."""
    kept = []
    for text, style in line:
        kept.append((cut(text, room), style))
        room -= width_of(text)
        if room <= 0:
            break
    return kept


def folded(name: str, text: str, indent: int, room: int | None) -> list[Line]:
    """A name, and beside it, from column `indent` on, a text with its line breaks, folded into the room there is."""
    lines = text.split("\n")
    if room is not None:
        lines = [part for line in lines for part in _parts(line, max(room - indent, 2))]
    return [[(f"{'' if number else name:{indent}}", "bold"), (line, "")] for number, line in enumerate(lines)]


def _parts(text: str, room: int) -> Iterator[str]:
    """A line in parts that fit, cut between words where that is possible."""
    part = ""
    for word in re.findall(r"\s*\S+", text):
        if width_of(part) + width_of(word) <= room:
            part += word
            continue
        if part:
            yield part
            word = word.lstrip()
        while width_of(word) > room:
            head = cut(word, room).rstrip()
            yield head
            word = word[len(head) :]
        part = word
    yield part


def width_of(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # knows how wide the letters of all scripts are

    return cell_len(text)


def cut(text: str, width: int, end: str = "") -> str:
    """As much of a text as fits, with `end` where something was cut off."""
    if width_of(text) <= width:
        return text
    if text.isascii():
        return text[: max(0, width - len(end))] + end
    from rich.cells import set_cell_size

    return set_cell_size(text, max(0, width - len(end))) + end


def painted(line: Iterable[Span], styles: Iterable[str] = ()) -> str:
    """A line as text, with the codes for those of its styles that are wanted; blanks at its end are dropped."""
    wanted = set(styles)
    spans = list(line)
    while spans and not spans[-1][0].strip():
        spans.pop()
    if spans:
        spans[-1] = (spans[-1][0].rstrip(), spans[-1][1])
    parts = []
    for text, style in spans:
        codes = ";".join(CODES[word] for word in style.split() if word in wanted)
        parts.append(f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text)
    return "".join(parts)
