"""The walks of ``docs/architecture.md``: which functions they name, where, and in which order."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from scripts.docs.links import ROOT

PAGE = ROOT / "docs" / "architecture.md"

_NAMED = re.compile(r"\[`([\w.]+)`\]\((\.\./[^)#]+\.py)\)")
_ASIDE = re.compile(r"\(\[`[^`]+`\]\([^)]*\)[^()]*\)")
"""A name in brackets: it is at work, but its call is not the step."""
_STEP = re.compile(r"^\d+\. ")


@dataclass(frozen=True)
class Named:
    """A function or class that the page names.

    Attributes:
        name: its name within the module: ``Tx.move``.
        path: the module, a path in the repository.
    """

    name: str
    path: str

    def __str__(self) -> str:
        return f"{self.name} in {self.path}"


def named(text: str) -> list[Named]:
    """All that a page in ``docs/`` names by a link to a module, in order."""
    return [Named(name, os.path.normpath(os.path.join("docs", path))) for name, path in _NAMED.findall(text)]


def steps(text: str, section: str) -> list[list[Named]]:
    """What each step of a section names: these are called in this order.

    What stands in brackets is left out: it was called before, and goes on.

    Raises:
        ValueError: there is no such section.
    """
    _, found, rest = text.partition(f"\n## {section}\n")
    if not found:
        raise ValueError(f"there is no section {section!r}")
    items: list[str] = []
    for line in rest.partition("\n## ")[0].splitlines():
        if _STEP.match(line):
            items.append(line)
        elif items and line.startswith("   "):
            items[-1] += f"\n{line}"
    return [named(_ASIDE.sub("", item)) for item in items]


def definitions(path: str) -> set[str]:
    """The functions and classes of a module, those of classes with the name of the class before."""
    return set(_defined(ast.parse((ROOT / path).read_text()), ""))


def _defined(node: ast.AST, prefix: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield prefix + child.name
            if isinstance(child, ast.ClassDef):
                yield from _defined(child, f"{prefix}{child.name}.")
