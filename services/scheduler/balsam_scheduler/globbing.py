"""Glob patterns inside one directory, which they never leave.

Python's `glob` follows linked directories, so that a link in a job's directory could lead a pattern anywhere, or round
and round. Here a directory that is a link is an entry like any other, and is never walked into.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

_MAGIC = re.compile(r"[*?\[]")


def split_patterns(text: str) -> list[str]:
    """The patterns of a field such as `input_files`: separated by blanks, quoted as in a shell.

    Raises:
        ValueError: a quotation is not closed.
    """
    return list(dict.fromkeys(shlex.split(text)))


def find(root: Path, patterns: list[str], check: Callable[[], None] = lambda: None) -> list[str]:
    """Paths under `root`, relative to it, that match a pattern; each once, pattern by pattern, sorted.

    `*` and `?` match within a name and no leading dot, `**` any depth of directories. `check` is called for every
    directory that is read, and may raise to give up.

    Raises:
        ValueError: a pattern leads out of the directory: it is absolute, or has `..` in it.
        OSError: the directory cannot be read.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        parts = _parts(pattern)
        if parts:
            found.update(dict.fromkeys(sorted(set(_walk(os.fspath(root), "", parts, check)))))
    return list(found)


def _parts(pattern: str) -> list[str]:
    parts: list[str] = []
    for part in pattern.split("/"):
        if part in ("", ".") or (part == "**" and parts[-1:] == ["**"]):
            continue
        parts.append(part)
    if pattern.startswith("/") or ".." in parts:
        raise ValueError(f"the pattern {pattern!r} leads out of the directory; use one relative to it, without '..'")
    return parts


def _walk(directory: str, prefix: str, parts: list[str], check: Callable[[], None]) -> Iterator[str]:
    """Matches of `parts` below `directory`, which lies at `prefix` under the root."""
    check()
    first, rest = parts[0], parts[1:]
    any_depth = first == "**"
    if any_depth and rest:
        yield from _walk(directory, prefix, rest, check)
    remaining = parts if any_depth else rest
    for name in _names(directory, "*" if any_depth else first):
        if not rest:
            yield prefix + name
        path = os.path.join(directory, name)
        if remaining and not os.path.islink(path) and os.path.isdir(path):
            yield from _walk(path, f"{prefix}{name}/", remaining, check)


def _names(directory: str, pattern: str) -> list[str]:
    """Names in a directory that match; a plain name is looked up, however many others there are."""
    if not _MAGIC.search(pattern):
        return [pattern] if os.path.lexists(os.path.join(directory, pattern)) else []
    matches = _matcher(pattern)
    return [name for name in os.listdir(directory) if matches(name)]


@functools.lru_cache(maxsize=256)
def _matcher(pattern: str) -> Callable[[str], object]:
    expression = re.compile(fnmatch.translate(pattern)).match
    if pattern.startswith("."):
        return expression
    return lambda name: not name.startswith(".") and expression(name)
