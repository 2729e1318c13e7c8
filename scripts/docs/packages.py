"""The picture of the packages: their layers, from the table that the imports are checked against, and who imports whom.

python -m scripts.docs.packages    writes docs/img/packages.svg anew
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from scripts.check_imports import EXCEPTIONS, PACKAGES, imported, modules
from scripts.docs.drawing import FAINT, Box, arrow, picture, text
from scripts.docs.links import ROOT
from scripts.layers import LAYERS, MESSAGES, PURE, SQL, Layer

PICTURE = ROOT / "docs" / "img" / "packages.svg"

_WIDTH, _EDGE, _GAP = 980, 20, 20
_HEAD, _LINE, _PAD = 26, 14, 7
_ROWS = (
    (("balsam_cli", 2), ("balsam_web", 1)),
    (("balsam_launcher", 1), ("balsam_scheduler", 1), ("balsam_jobstore", 1)),
    (("balsam", 3),),
)
"""Packages of each row, and how many columns each is wide."""
_BETWEEN = 38
_KINDS = {
    "no I/O": "#e6f4ea",
    "messages": "#e8f0fe",
    "SQL": "#fff3e0",
    "messages and SQL": "#f3e8fd",
    "neither": "#f3f4f6",
}


def kind(layer: Layer) -> str:
    """What a layer may have to do with, in a word."""
    if layer.without >= PURE:
        return "no I/O"
    names = [name for name, libraries in (("messages", MESSAGES), ("SQL", SQL)) if not layer.without >= libraries]
    return " and ".join(names) or "neither"


def edges() -> set[tuple[str, str]]:
    """Which of the packages imports which, as the code is."""
    found = set()
    for package in PACKAGES:
        for file in modules(package).values():
            names = {name.partition(".")[0] for _, name in imported(file.read_text())}
            found |= {(package, other) for other in names & PACKAGES.keys() if other != package}
    return found


def svg() -> str:
    """The picture.

    Raises:
        ValueError: a package imports one for which the picture has no arrow.
    """
    boxes, y = {}, float(_EDGE)
    column = (_WIDTH - 2 * _EDGE - 2 * _GAP) / 3
    for row in _ROWS:
        x, height = float(_EDGE), max(_height(package, _span(column, columns)) for package, columns in row)
        for package, columns in row:
            width = _span(column, columns)
            boxes[package] = Box(x, y, width, height)
            x += width + _GAP
        y += height + _BETWEEN
    parts = [part for package, box in boxes.items() for part in _card(package, box)]
    parts += _arrows(boxes)
    parts += _legend(y - 6)
    return picture(_WIDTH, round(y + 24), "The packages of Balsam, their layers, and who imports whom", parts)


def _span(column: float, columns: int) -> float:
    return columns * column + (columns - 1) * _GAP


def _duty(layer: Layer, width: float) -> list[str]:
    return textwrap.wrap(layer.duty, int((width - 108) / 6.1))


def _height(package: str, width: float) -> float:
    rows = (len(_duty(layer, width)) * _LINE + 2 * _PAD for layer in LAYERS[package])
    return _HEAD + sum(rows) + _PAD


def _card(package: str, box: Box) -> Iterator[str]:
    yield box.drawn("#ffffff")
    yield text(box.x + 10, box.y + 18, package, size=13, bold=True)
    yield text(box.x + box.width - 10, box.y + 18, PACKAGES[package], colour=FAINT, anchor="end")
    y = box.y + _HEAD
    spare = (box.height - _height(package, box.width)) / len(LAYERS[package])
    for layer in LAYERS[package]:
        lines = _duty(layer, box.width)
        height = len(lines) * _LINE + 2 * _PAD + spare
        yield Box(box.x + 6, y, box.width - 12, height - 2).drawn(_KINDS[kind(layer)], "#d1d5db", radius=3)
        top = y + (height - 2 - len(lines) * _LINE) / 2 + 10.5
        yield text(box.x + 14, top, layer.name, bold=True)
        for number, line in enumerate(lines):
            yield text(box.x + 94, top + number * _LINE, line, colour=FAINT)
        y += height


def _arrows(boxes: dict[str, Box]) -> Iterator[str]:
    for package, other in sorted(edges()):
        start, end = boxes[package], boxes[other]
        title = f"{package} imports {other}"
        if other != "balsam" and not (
            package == "balsam_cli" and other in ("balsam_launcher", "balsam_scheduler", "balsam_web")
        ):
            raise ValueError(f"{title}: the picture has no arrow for that")
        if start.y == end.y:
            y = start.middle[1]
            yield arrow([(start.x + start.width, y), (end.x, y)], title, dashed=True)
        elif other != "balsam":
            x = end.middle[0]
            yield arrow([(x, start.y + start.height), (x, end.y)], title, dashed=True)
            parts = [name for name in EXCEPTIONS[package] if name.startswith(other)]
            yield text(x + 8, end.y - 15, _why(parts[0]), colour=FAINT)
        else:
            yield from _to_library(package, start, end, title)


def _why(part: str) -> str:
    return {"balsam_launcher": "is the launcher", "balsam_scheduler.batch": "submits its launches"}[part]


def _to_library(package: str, start: Box, end: Box, title: str) -> Iterator[str]:
    """From the row above straight down; from the first row between the cards of the second."""
    if start.y + start.height + _BETWEEN == end.y:
        x = start.middle[0]
        yield arrow([(x, start.y + start.height), (x, end.y)], title)
    else:
        gaps = {"balsam_cli": (_WIDTH - 2 * _EDGE - 2 * _GAP) / 3 + _EDGE + _GAP / 2, "balsam_web": start.x - _GAP / 2}
        x = gaps[package]
        bottom = start.y + start.height
        begin = (
            [(x, bottom)]
            if start.x <= x <= start.x + start.width
            else [(start.x + 16, bottom), (start.x + 16, bottom + 14), (x, bottom + 14)]
        )
        yield arrow([*begin, (x, end.y)], title)


def _legend(y: float) -> Iterator[str]:
    x = float(_EDGE)
    for name, colour in _KINDS.items():
        yield Box(x, y, 14, 14).drawn(colour, "#9ca3af", radius=3)
        yield text(x + 20, y + 11, name)
        x += 42 + 6.2 * len(name)
    yield text(
        _WIDTH - _EDGE,
        y + 11,
        "arrows: imports; what a layer may have to do with: its colour",
        colour=FAINT,
        anchor="end",
    )


if __name__ == "__main__":
    PICTURE.write_text(svg())
