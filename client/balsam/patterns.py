"""Filters of workflows: exact, or a glob. Pure."""

from __future__ import annotations

import fnmatch
import re


def matches(workflow: str, pattern: str) -> bool:
    """Whether a workflow is meant by a filter: the same text, or a glob of `*` and `?` that matches it."""
    if "*" not in pattern and "?" not in pattern:
        return workflow == pattern
    # Only * and ? are special: [ stands for itself.
    escaped = pattern.replace("[", "[[]")
    return re.match(fnmatch.translate(escaped), workflow) is not None
