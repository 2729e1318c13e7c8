"""Copies of files and directories, each complete before it takes its name.

Links are never written through, and only plain files are read: a pipe in a directory does not stop a copy for ever.
Others may be able to write where is read from, or written to: what was looked at may be something else a moment later.
So each file and directory is opened, and what counts is where that lies.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from balsam.directories import by_descriptor, lies_in

CHUNK_BYTES = 4 * 1024 * 1024
MOST_LEVELS = 100
"""Directories in directories that are moved into others."""
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OWN = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Check = Callable[[], None]


def open_plain(path: Path, *, within: str = "", follow: bool = True) -> int:
    """A descriptor of a plain file, to read it.

    Args:
        path: the file.
        within: a directory, links resolved, in which it must lie; empty: it may lie anywhere.
        follow: the file itself may be a link.

    Raises:
        OSError: it is no plain file, lies elsewhere, or cannot be read.
    """
    # O_NONBLOCK: opening a pipe would wait for its other end.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(None, "is not a plain file", os.fspath(path))
    if within and not lies_in(descriptor, within):
        os.close(descriptor)
        raise OSError(None, f"leads out of {within}", os.fspath(path))
    return descriptor


def copy_file(source: Path, target: Path, check: Check, *, draft: Path, within: str = "", follow: bool = True) -> None:
    """Copies a plain file, with its mode and times; `target` is replaced once all of it is there.

    Args:
        source: the file; `within` and `follow` are those of `open_plain`.
        target: the copy.
        check: called between pieces.
        draft: what the copy is called until it is complete.

    Raises:
        OSError: `source` is no plain file, or one of the two cannot be used.
    """
    with open(open_plain(source, within=within, follow=follow), "rb", buffering=0) as reader:
        status = os.fstat(reader.fileno())
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with _named(target):
                draft.unlink(missing_ok=True)
                descriptor = os.open(draft, flags, 0o600)
            with open(descriptor, "wb", buffering=0) as writer:
                while chunk := _read(reader, source):
                    check()
                    with _named(target):
                        _write_all(writer.fileno(), chunk)
                os.fchmod(writer.fileno(), stat.S_IMODE(status.st_mode) & 0o777)
                os.utime(writer.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
            os.replace(draft, target)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors name this file: of descriptors the system names none, and drafts are nobody's business."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def _read(reader: io.FileIO, source: Path) -> bytes:
    with _named(source):
        return reader.read(CHUNK_BYTES)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def copy_tree(source: Path, target: Path, check: Check, *, draft: Path) -> None:
    """Copies what is in a directory into another, which is made; `draft` is on its file system, and not in it.

    Nobody else writes in the target. Links stay links; one that leads out of the directory by a relative path is made
    absolute. What is neither file, directory nor link is an error.

    Raises:
        OSError: something cannot be read or written.
    """
    root = os.path.realpath(source)
    target.mkdir(parents=True, exist_ok=True)
    left = [""]
    while left:
        check()
        path = left.pop()
        here, there = source / path, target / path
        for name, mode in _entries(here, root, is_source=not path):
            if stat.S_ISLNK(mode):
                (there / name).unlink(missing_ok=True)
                (there / name).symlink_to(_link_text(here / name, root))
            elif stat.S_ISDIR(mode):
                (there / name).mkdir(exist_ok=True)
                left.append(f"{path}/{name}" if path else name)
            else:
                copy_file(here / name, there / name, check, draft=draft, within=root, follow=False)


def _entries(directory: Path, root: str, *, is_source: bool) -> list[tuple[str, int]]:
    """(name, mode) of what is in a directory of a tree, in order."""
    descriptor = os.open(directory, _LIST & ~os.O_NOFOLLOW if is_source else _LIST)
    try:
        if not lies_in(descriptor, root):
            raise OSError(None, f"leads out of {root}", os.fspath(directory))
        names = sorted(os.listdir(descriptor))
        return [(name, os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode) for name in names]
    finally:
        os.close(descriptor)


def _link_text(link: Path, root: str) -> str:
    text = os.readlink(link)
    if os.path.isabs(text) or inside(os.path.normpath(link.parent / text), root):
        return text
    return os.path.normpath(link.parent / text)


def inside(path: str | Path, root: str) -> bool:
    """Whether a path, links resolved, lies in the directory `root`, which has none."""
    return os.path.commonpath((os.path.realpath(path), root)) == root


def move_into(source: Path, target: Path, levels: int = MOST_LEVELS) -> None:
    """Moves what is in `source` into the directory `target`, on the same file system; files there are replaced.

    Raises:
        OSError: in the way of a directory is something else, or the other way round.
    """
    if not levels:
        raise OSError(errno.ELOOP, f"directories are nested deeper than {MOST_LEVELS} levels", os.fspath(target))
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.is_symlink() or not entry.is_dir() or not os.path.lexists(place):
            os.replace(entry, place)
            continue
        with _entered(place) as there:
            move_into(entry, there, levels - 1)


@contextlib.contextmanager
def _entered(place: Path) -> Iterator[Path]:
    """A directory, by a path that stays its own, if it is one."""
    try:
        descriptor = os.open(place, _OWN)
    except NotADirectoryError:
        what = "is a link" if place.is_symlink() else "is no directory"
        raise FileExistsError(
            errno.EEXIST, f"{what}, and in the way of a directory of the same name", os.fspath(place)
        ) from None
    with by_descriptor(descriptor, place) as path:
        yield path


def open_directories(path: Path) -> None:
    """Makes all directories of a tree writable for us, so that what is in them can be moved or removed."""
    _make_writable(path)
    for directory, subdirectories, _ in os.walk(path):
        for name in subdirectories:
            with contextlib.suppress(NotADirectoryError):  # a link
                _make_writable(Path(directory, name))


def _make_writable(directory: Path) -> None:
    descriptor = os.open(directory, _OWN)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        os.chmod(f"/proc/self/fd/{descriptor}", mode | stat.S_IRWXU)
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Removes a directory with all that is in it; if there is none, that is well too. A link is no directory."""
    with contextlib.suppress(OSError):
        open_directories(path)
    shutil.rmtree(path, ignore_errors=True)
