"""Directories that nobody can swap: entered part by part and through no link, and known by a descriptor from then on.

Between a look at a path and its use, whoever may write to a directory above can put a link in its place. What is done
by ``/proc/self/fd/N/...`` is done in the directory that was opened, wherever its path leads meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_ENTER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_SHARED = stat.S_ISGID | stat.S_IWGRP
_IS_LINK = "is a symbolic link, and no directory of a job leads through one"


def open_directory(path: str | os.PathLike[str], *, make: bool = False) -> int:
    """A descriptor of a directory, by a path that may lead through links: one of the user's own choice.

    Raises:
        OSError: it is none, or cannot be made.
    """
    try:
        return os.open(path, _ENTER)
    except FileNotFoundError:
        if not make:
            raise
    os.makedirs(path, exist_ok=True)
    return os.open(path, _ENTER)


def open_below(root: str | os.PathLike[str], path: str, *, make: bool = False) -> int:
    """A descriptor of the directory `path` below `root`, which itself may be a link; nothing below it may be one.

    Args:
        root: the directory.
        path: relative to it, without ``.`` and ``..``.
        make: what is missing is made. In a directory that hands its group on and lets the group write (`balsam init
            --group`) those above the last do the same: else the first user of a workflow would shut out all others.

    Raises:
        OSError: a part is missing, is no directory, or is a link; it names that part.
        ValueError: the path is not relative, or has such parts.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{path!r} is not below {os.fspath(root)}")
    descriptor = open_directory(root, make=make)
    for number, part in enumerate(parts, start=1):
        above = descriptor
        try:
            descriptor = _step(above, part, make, between=number < len(parts))
        except OSError as error:
            where = os.path.join(root, *parts[:number])
            raise OSError(error.errno, _IS_LINK if _is_link(above, part) else error.strerror, where) from None
        finally:
            os.close(above)
    return descriptor


def _is_link(above: int, part: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(part, dir_fd=above, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _step(above: int, part: str, make: bool, *, between: bool) -> int:
    try:
        return os.open(part, _ENTER | os.O_NOFOLLOW, dir_fd=above)
    except FileNotFoundError:
        if not make:
            raise
    is_made = False
    with contextlib.suppress(FileExistsError):
        os.mkdir(part, dir_fd=above)
        is_made = True
    descriptor = os.open(part, _ENTER | os.O_NOFOLLOW, dir_fd=above)
    if is_made and between and os.fstat(above).st_mode & _SHARED == _SHARED:
        _share(descriptor)
    return descriptor


def _share(descriptor: int) -> None:
    """Lets the group write to a directory that was made now. One with something in it was put into its place."""
    path = f"/proc/self/fd/{descriptor}"
    with contextlib.suppress(OSError):
        if not os.listdir(path):
            os.chmod(path, stat.S_IMODE(os.fstat(descriptor).st_mode) | _SHARED)


def user_name(number: int) -> str:
    """Name of a Unix user."""
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def stranger(directory: str | int, root: str | os.PathLike[str]) -> str:
    """Whose a working directory below `root` is, if neither ours nor of whose `root` is; empty: it may be used.

    A directory that a third user has made may hold anything, such as a module that a job's program imports from there.
    """
    owner = os.stat(directory).st_uid
    if owner == os.getuid() or owner == os.stat(root).st_uid:
        return ""
    return user_name(owner)


@contextlib.contextmanager
def by_descriptor(descriptor: int, path: Path) -> Iterator[Path]:
    """A path of an open directory that cannot be swapped. In errors it is `path`; closes the descriptor at the end.

    Raises:
        OSError: what was done there has failed; it names the path, not the descriptor.
    """
    here = f"/proc/self/fd/{descriptor}"
    try:
        yield Path(here)
    except OSError as error:
        names = [_renamed(name, here, path) for name in (error.filename, error.filename2)]
        raise OSError(error.errno, error.strerror or str(error), names[0], None, names[1]) from None
    finally:
        os.close(descriptor)


def _renamed(name: object, here: str, path: Path) -> str | None:
    if not isinstance(name, (str, os.PathLike)):
        return None
    text = os.fspath(name)
    return f"{path}{text[len(here) :]}" if text == here or text.startswith(f"{here}/") else text


def place_of(descriptor: int) -> str:
    """Where an open file or directory is now, links resolved."""
    return os.readlink(f"/proc/self/fd/{descriptor}")


def lies_in(descriptor: int, root: str) -> bool:
    """Whether an open file or directory lies in the directory `root`, whose path has no links."""
    place = place_of(descriptor)
    return place == root or place.startswith(root.rstrip("/") + "/")


def unfit_output(status: os.stat_result) -> str:
    """Why output must not be written to an open file; empty: it may.

    A hard link is a file elsewhere under another name, and nothing tells which of the two it was first.
    """
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if status.st_nlink > 1:
        return "it has another name elsewhere (a hard link); remove it, or put a copy in its place"
    return ""
