"""Links of the pages that lead out of ``docs/``: what they lead to becomes part of the site."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"`[^`]+`")


def targets(text: str, source: str) -> Iterator[str]:
    """Paths in the repository that a page links to.

    Args:
        text: the page.
        source: its own path in the repository.
    """
    for found in _LINK.finditer(text):
        yield _resolved(source, found[2])


def place(path: str) -> str:
    """Where a file of the repository is in the site: its path below the root of the site.

    Pages outside of ``docs`` are pages of the site too, and other files are there to be downloaded.
    """
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.endswith("/README.md"):
        return f"repository/{path.removesuffix('/README.md')}.md"
    return f"repository/{path}"


def rewritten(text: str, source: str) -> str:
    """The page as it is in the site: links lead to where files are there; of one to a directory the text is left."""

    def one(found: re.Match[str]) -> str:
        path = _resolved(source, found[2])
        if (ROOT / path).is_dir():
            return found[1]
        way = os.path.relpath(place(path), os.path.dirname(place(source)) or ".")
        return f"[{found[1]}]({way}{found[3] or ''})"

    return _LINK.sub(one, text)


def with_plain_pipes(text: str) -> str:
    """The page with `|` for what GitHub wants as ``\\|`` in the code of tables, which mkdocs takes literally."""
    lines = (
        _CODE.sub(lambda code: code[0].replace("\\|", "|"), line) if line.startswith("|") else line
        for line in text.split("\n")
    )
    return "\n".join(lines)


def _resolved(source: str, target: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(source), target))
