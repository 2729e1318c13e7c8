"""What of a site nobody but its owner may write to: with it, others would run programs in the owner's account."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from balsam.errors import SiteError
from balsam.site import Site, owner_name

_WRITERS = stat.S_IWGRP | stat.S_IWOTH


def open_to_writers(site: Site) -> Iterator[tuple[Path, str]]:
    """Directories and files that must be closed and are not, each with who else may write there."""
    for path in _to_be_closed(site):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue  # not there, or said better by who needs it
        if mode & _WRITERS:
            yield path, "everybody" if mode & stat.S_IWOTH else "its group"


def require_closed(site: Site) -> None:
    """Raises SiteError if others may write to what must be closed. What is somebody else's is for them to close."""
    if not site.is_own:
        return
    for path, who in open_to_writers(site):
        fix = f"chmod go-w {shlex.quote(str(path))}"
        raise SiteError(f"{who} may write to {path}, and could run programs in your account so; close it with `{fix}`")


def close(directory: Path) -> None:
    """Takes the right to write to a directory from all but its owner.

    Raises:
        SiteError: it belongs to somebody else.
        OSError: it cannot be done.
    """
    info = directory.stat()
    _check_owner(directory, info)
    if info.st_mode & _WRITERS:
        os.chmod(directory, stat.S_IMODE(info.st_mode) & ~_WRITERS)


def make_closed(directory: Path) -> None:
    """Makes a directory that is closed to everyone else; one that is there must be ours.

    Raises:
        SiteError: it belongs to somebody else, or is a link.
        OSError: it cannot be made.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    info = directory.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise SiteError(f"{directory} is a link: put a directory in its place, or make the site elsewhere")
    _check_owner(directory, info)


def _check_owner(directory: Path, info: os.stat_result) -> None:
    if info.st_uid != os.getuid():
        raise SiteError(f"{directory} belongs to {owner_name(directory)}: make the site in a directory of your own")


def _to_be_closed(site: Site) -> Iterator[Path]:
    """Not what is closed to readers, too: the first who uses that sees to it."""
    yield from (site.path, site.path / "policy.toml", site.log, site.qsubmit, site.templates)
    yield from sorted(site.templates.glob("*.sh"))
