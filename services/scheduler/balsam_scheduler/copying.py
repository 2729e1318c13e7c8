"""Copies of files and directories, each complete before it takes its name.

Links are never written through, and only plain files are read: a pipe in a directory does not stop a copy for ever.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

CHUNK_BYTES = 4 * 1024 * 1024

Check = Callable[[], None]


def copy_file(source: Path, target: Path, check: Check, *, draft: Path) -> None:
    """Copies a plain file, with its mode and times; `target` is replaced once all of it is there.

    Raises:
        OSError: `source` is no plain file, or one of the two cannot be used.
    """
    # O_NONBLOCK: opening a pipe would wait for its other end.
    with open(os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb", buffering=0) as reader:
        status = os.fstat(reader.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(None, "is not a plain file", os.fspath(source))
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

    Links stay links; one that leads out of the directory by a relative path is made absolute. What is neither file,
    directory nor link is an error.

    Raises:
        OSError: something cannot be read or written.
    """
    root = os.path.realpath(source)
    target.mkdir(parents=True, exist_ok=True)
    for directory, subdirectories, files in os.walk(source, onerror=_raise):
        check()
        here = Path(directory)
        there = target / here.relative_to(source)
        for name in [*subdirectories, *files]:
            entry = here / name
            if entry.is_symlink():
                (there / name).unlink(missing_ok=True)
                (there / name).symlink_to(_link_text(entry, root))
            elif entry.is_dir():
                (there / name).mkdir(exist_ok=True)
            else:
                copy_file(entry, there / name, check, draft=draft)


def _raise(error: OSError) -> None:
    raise error


def _link_text(link: Path, root: str) -> str:
    text = os.readlink(link)
    if os.path.isabs(text) or inside(os.path.normpath(link.parent / text), root):
        return text
    return os.path.normpath(link.parent / text)


def inside(path: str | Path, root: str) -> bool:
    """Whether a path, links resolved, lies in the directory `root`, which has none."""
    return os.path.commonpath((os.path.realpath(path), root)) == root


def move_into(source: Path, target: Path) -> None:
    """Moves what is in `source` into the directory `target`, on the same file system; files there are replaced.

    Raises:
        OSError: in the way of a directory is something else, or the other way round.
    """
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        is_directory = entry.is_dir() and not entry.is_symlink()
        if is_directory and place.is_symlink():
            raise FileExistsError(None, "is a link, and in the way of a directory of the same name", os.fspath(place))
        if is_directory and place.exists():
            move_into(entry, place)
        else:
            os.replace(entry, place)


def open_directories(path: Path) -> None:
    """Makes all directories of a tree writable for us, so that what is in them can be moved or removed."""
    path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IRWXU)
    for directory, subdirectories, _ in os.walk(path):
        for name in subdirectories:
            entry = Path(directory, name)
            if not entry.is_symlink():
                entry.chmod(stat.S_IMODE(entry.stat().st_mode) | stat.S_IRWXU)


def remove_tree(path: Path) -> None:
    """Removes a directory with all that is in it; if there is none, that is well too."""
    with contextlib.suppress(OSError):
        if not path.is_symlink():
            open_directories(path)
    shutil.rmtree(path, ignore_errors=True)
