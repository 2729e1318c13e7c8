"""Every symptom of the troubleshooting page is a message of Balsam."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator

import pytest

from scripts.check_imports import PACKAGES, ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
SYMPTOMS = re.findall(r"^### `(.*)`$", PAGE, re.MULTILINE)
_HOLE = "\0"


def texts(source: str) -> Iterator[str]:
    """The texts in a module, less its docstrings; what differs from case to case is a NUL; a sum is one text."""
    tree = ast.parse(source)
    said_to_nobody = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if node in said_to_nobody:
            continue
        if isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp)) and (text := _text(node)) is not None:
            yield text


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or _HOLE for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = (_text(node.left), _text(node.right))
        return None if parts == (None, None) else "".join(part or _HOLE for part in parts)
    return None


@functools.cache
def all_texts() -> list[str]:
    modules = [path for package, root in PACKAGES.items() for path in (ROOT / root / package).rglob("*.py")]
    return [text for path in modules if "_pb2" not in path.name for text in texts(path.read_text())]


def is_said(symptom: str) -> bool:
    """Whether some text has all parts of the symptom, in order."""
    pattern = re.compile(".*".join(map(re.escape, (part.strip() for part in symptom.split("...")))), re.DOTALL)
    return any(pattern.search(text) for text in all_texts())


@pytest.mark.parametrize("symptom", SYMPTOMS)
def test_a_symptom_is_what_balsam_says(symptom: str) -> None:
    assert is_said(symptom), f"no message of Balsam is {symptom!r}: has it been changed?"


def test_a_message_that_nobody_says_is_noticed() -> None:
    assert len(SYMPTOMS) >= 25
    assert not is_said("the frobnicator is ... out of order")


def test_texts_are_found_in_parts() -> None:
    source = 'raise E(f"the job {name} " f"cannot {verb}")\nx = "at " + where + " too"'
    assert {"the job \0 cannot \0", "at \0 too"} <= {*texts(source)}
