"""Workflow filters: an exact name, or a glob where it holds ``*`` or ``?``; never a substring."""

from __future__ import annotations

from typing import Any


def is_glob(pattern: str) -> bool:
    """Whether a name is a pattern."""
    return "*" in pattern or "?" in pattern


def workflow_condition(pattern: str, *, sqlite: bool) -> tuple[str, dict[str, Any]]:
    """The SQL condition of a workflow filter and its parameters; empty for all workflows."""
    if not pattern:
        return "", {}
    if not is_glob(pattern):
        return "workflow = :workflow", {"workflow": pattern}
    if sqlite:
        return "workflow GLOB :workflow", {"workflow": sqlite_glob(pattern)}
    return "workflow LIKE :workflow", {"workflow": like_pattern(pattern)}


def sqlite_glob(pattern: str) -> str:
    """A pattern for SQLite's GLOB, in which brackets mean themselves."""
    return pattern.replace("[", "[[]")


def like_pattern(pattern: str) -> str:
    r"""A pattern for LIKE, with ``\`` as its escape."""
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")
