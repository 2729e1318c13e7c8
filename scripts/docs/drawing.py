"""Pieces of the pictures that are drawn as SVG: boxes with text in them, and arrows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

SANS = "system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
INK, FAINT, LINE = "#111827", "#4b5563", "#6b7280"


@dataclass(frozen=True)
class Box:
    """A rectangle: its upper left corner, width and height [px]."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre."""
        return self.x + self.width / 2, self.y + self.height / 2

    def drawn(self, fill: str, border: str = LINE, *, radius: float = 6, dashed: bool = False) -> str:
        """The rectangle itself."""
        dash = ' stroke-dasharray="5 3"' if dashed else ""
        return (
            f'<rect x="{self.x:g}" y="{self.y:g}" width="{self.width:g}" height="{self.height:g}" rx="{radius:g}" '
            f'fill="{fill}" stroke="{border}" stroke-width="1.2"{dash}/>'
        )


def text(
    x: float, y: float, words: str, *, size: float = 11, colour: str = INK, bold: bool = False, anchor: str = "start"
) -> str:
    """A line of text; `y` is its base line."""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}" text-anchor="{anchor}"{weight}>'
        f"{escape(words, quote=False)}</text>"
    )


def arrow(points: Sequence[tuple[float, float]], title: str, *, dashed: bool = False, both: bool = False) -> str:
    """A line through some points with a head at its end, or at both; `title` is shown where the mouse is on it."""
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    start = ' marker-start="url(#head)"' if both else ""
    return (
        f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.5"{dash}{start} marker-end="url(#head)">'
        f"<title>{escape(title, quote=False)}</title></path>"
    )


def picture(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    """A picture of these parts, on white: pages may be dark."""
    head = (
        f'<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{LINE}"/></marker>'
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-labelledby="title" font-family="{SANS}">',
        f'<title id="title">{escape(title, quote=False)}</title>',
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
        f"<defs>{head}</defs>",
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"
