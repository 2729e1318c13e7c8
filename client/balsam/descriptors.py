"""How many files and connections this process may have open."""

from __future__ import annotations

import contextlib
import resource


def have(count: int) -> int:
    """Raises the soft limit on open files as far as it takes, and may be.

    Args:
        count: how many are wanted.

    Returns:
        How many may be open now, at most `count`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return count
    most = count if hard == resource.RLIM_INFINITY else min(count, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return soft
