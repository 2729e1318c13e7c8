"""Directories that the users of a site share: what lies between a shared directory and a job's own is the group's."""

from __future__ import annotations

import contextlib
import os
import stat

SHARED = stat.S_ISGID | stat.S_IWGRP
"""Bits of the mode of a directory that hands its group on, and lets the group write."""


def make(path: str) -> None:
    """Makes a directory, and those above it that are missing; one that is there already is as good.

    In a directory that hands its group on and lets the group write (`balsam init --group`), those above do the same:
    else the first user of a workflow would shut out all others. The directory itself is its maker's.

    Raises:
        OSError: it cannot be made.
    """
    above = os.path.dirname(path)
    if above not in ("", path) and not os.path.exists(above):
        make(above)
        _share(above)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def _share(path: str) -> None:
    if os.stat(os.path.dirname(path)).st_mode & SHARED == SHARED:
        with contextlib.suppress(PermissionError):  # somebody else has made it meanwhile, and does this
            os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | SHARED)
