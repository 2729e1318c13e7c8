"""Every public name says what it is, and every function which errors of ours it raises."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

import pytest

from balsam import errors
from scripts.check_imports import PACKAGES, modules

ERRORS = {
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
} - set(dir(builtins))
MADE = ("v1", "migrations.versions.")
"""Generated, and migrations, of which each says in its module what it does."""
TO_USERS = ("commands.", "server.", *MADE)
"""Errors of commands and rpcs go to users as they are; what an rpc refuses is said in the protos."""


def undocumented(source: str) -> Iterator[str]:
    """Names of public functions and classes that say nothing; one that overrides a documented one need not."""
    yield from _undocumented(ast.parse(source), "", set())


def _undocumented(node: ast.AST, prefix: str, known: set[str]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or child.name.startswith("_"):
            continue
        said = ast.get_docstring(child) is not None
        derived = isinstance(node, ast.ClassDef) and bool(node.bases) and child.name in known
        if not said and not derived:
            yield prefix + child.name
        if isinstance(node, ast.ClassDef) and said:
            known.add(child.name)
        if isinstance(child, ast.ClassDef):
            yield from _undocumented(child, f"{prefix}{child.name}.", known)


def unsaid_errors(source: str) -> Iterator[str]:
    """Public functions and methods that raise an error of ours themselves, and do not say so."""
    yield from _unsaid_errors(ast.parse(source))


def _unsaid_errors(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _unsaid_errors(child)
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) and not child.name.startswith("_"):
            said = ast.get_docstring(child) or ""
            if "aises" not in said and _raised(child) & ERRORS:
                yield child.name


def _raised(function: ast.AST) -> set[str]:
    """Names of the errors that a function raises, but not those of functions within it."""
    found = set()
    for child in ast.iter_child_nodes(function):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call) and isinstance(child.exc.func, ast.Name):
            found.add(child.exc.func.id)
        found |= _raised(child)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_documented(package: str) -> None:
    sources = {name: file.read_text() for name, file in modules(package).items() if not name.startswith(MADE)}
    silent = [f"{name}: {one}" for name, source in sources.items() for one in undocumented(source)]
    assert silent == []
    assert [
        name for name, source in sources.items() if source.strip() and not ast.get_docstring(ast.parse(source))
    ] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_function_says_which_errors_it_raises(package: str) -> None:
    there = {name: file.read_text() for name, file in modules(package).items() if not name.startswith(TO_USERS)}
    assert [f"{name}: {one}" for name, source in there.items() for one in unsaid_errors(source)] == []


def test_what_is_missing_is_found() -> None:
    source = """
class A:
    "Says."
    def said(self): "Says."
    def silent(self): raise NotFound("x")
    def _private(self): raise NotFound("x")
class B(A):
    "Says."
    def said(self): ...
    def other(self):
        "Says. Raises NotFound."
        raise NotFound("x")
def late():
    def inner(): raise NotFound("x")
def early():
    "Says."
    if 1: raise NotFound("x")
"""
    assert list(undocumented(source)) == ["A.silent", "late"]
    assert list(unsaid_errors(source)) == ["silent", "early"]
