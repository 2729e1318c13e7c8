"""The version of this installation."""

from __future__ import annotations

import re

VERSION = "1.0.0.dev1"
"""As in pyproject.toml (a test compares them): read without importlib.metadata, which costs 30 ms."""

_NUMBER = r"(\d+)\.(\d+)"


def works_with(theirs: str, ours: str = VERSION) -> bool:
    """Whether two versions may talk to each other: neighbours may, and so may what tells no version."""
    first, second = re.match(_NUMBER, theirs), re.match(_NUMBER, ours)
    if first is None or second is None:
        return True
    (major, minor), (next_major, next_minor) = sorted((int(one[1]), int(one[2])) for one in (first, second))
    if major == next_major:
        return next_minor - minor <= 1
    return next_major - major == 1 and next_minor == 0
