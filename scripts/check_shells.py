"""Checks that no shell ever reads what a caller has sent: programs are started with lists of words.

Forbidden are calls that start a shell by themselves, and the words ``sh -c TEXT`` where the text is not written out in
the source: one that is put together could hold anything. The exceptions are named, each with its reason.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

from scripts.check_imports import PACKAGES, ROOT

CALLS = frozenset(
    {
        *("os.system", "os.popen", "os.popen2", "os.popen3", "os.popen4", "pty.spawn"),
        *("subprocess.getoutput", "subprocess.getstatusoutput", "commands.getoutput"),
        *("asyncio.create_subprocess_shell", "create_subprocess_shell", "getoutput", "getstatusoutput"),
        *("os.execlp", "os.execvp", "os.execvpe", "os.execlpe", "os.spawnlp", "os.spawnvp", "os.spawnvpe"),
    }
)
"""Calls that are never made: they start a shell, or whatever is found first in the current directory."""

SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "csh", "tcsh", "fish", "env"})

EXCEPTIONS = {
    "client/balsam/commands.py": {
        "with_envscript": "an application asks for a shell by its envscript; every word is quoted into the text",
    },
}
"""File -> function -> why it may put together a text for a shell."""


def violations(source: str, allowed: frozenset[str] = frozenset()) -> Iterator[tuple[int, str]]:
    """Line of each violation in a module, and what it is; functions with the names `allowed` may make a text."""
    tree = ast.parse(source)
    constants = _texts(tree)
    for node, function in _nodes(tree, ""):
        if isinstance(node, ast.Call):
            yield from _of_call(node)
        elif isinstance(node, (ast.List, ast.Tuple)) and function not in allowed and _is_composed(node, constants):
            yield node.lineno, "a text for a shell that is not written out"


def _nodes(node: ast.AST, function: str) -> Iterator[tuple[ast.AST, str]]:
    for child in ast.iter_child_nodes(node):
        inner = child.name if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        yield child, inner
        yield from _nodes(child, inner)


def _texts(tree: ast.Module) -> frozenset[str]:
    """Names that stand for a text that is written out, at the top of the module."""
    return frozenset(
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and _is_text(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    )


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _of_call(node: ast.Call) -> Iterator[tuple[int, str]]:
    name = ast.unparse(node.func)
    if name in CALLS:
        yield node.lineno, name
    for keyword in node.keywords:
        never = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        if keyword.arg == "shell" and not never:
            yield node.lineno, f"{name} with shell="


def _is_composed(words: ast.List | ast.Tuple, constants: frozenset[str]) -> bool:
    """Whether words are SHELL, -c, TEXT, and the text is neither written out here nor a constant of the module."""
    for number, word in enumerate(words.elts[:-1]):
        is_option = isinstance(word, ast.Constant) and word.value in ("-c", "-lc", "-ec", "-xc")
        if not is_option or number == 0 or not _may_be_shell(words.elts[number - 1]):
            continue
        text = words.elts[number + 1]
        if not _is_text(text) and not (isinstance(text, ast.Name) and text.id in constants):
            return True
    return False


def _may_be_shell(word: ast.expr) -> bool:
    """What is not written out may be one, but for this interpreter and the starred rest of other words."""
    if isinstance(word, ast.Constant):
        return isinstance(word.value, str) and word.value.rpartition("/")[2] in SHELLS
    return not isinstance(word, ast.Starred) and ast.unparse(word) != "sys.executable"


def main() -> int:
    """Prints the violations; 1 if there are any."""
    found = 0
    for package, directory in PACKAGES.items():
        for file in sorted((ROOT / directory / package).rglob("*.py")):
            name = str(file.relative_to(ROOT))
            for line, what in violations(file.read_text(), frozenset(EXCEPTIONS.get(name, ()))):
                print(f"{name}:{line}: {what}: start programs with a list of words")
                found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
