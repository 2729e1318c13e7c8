"""Stage-in from a URL and stage-out to one."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from balsam.directories import by_descriptor, lies_in
from balsam_scheduler import carriers
from balsam_scheduler.copying import (
    Check,
    copy_file,
    copy_tree,
    inside,
    move_into,
    open_directories,
    open_plain,
    remove_tree,
)
from balsam_scheduler.globbing import find
from balsam_scheduler.places import Carrier, Place, parse

_ENTRIES_AT_ONCE = 1000  # in one command line

RunProgram = Callable[[list[str], Path, str], None]
"""(command, directory, standard input): runs a program to its end; raises CopyFailed unless it succeeds."""


class CopyFailed(Exception):
    """A program could not copy; the text says why, for people.

    Attributes:
        code: its exit code.
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Tools:
    """What staging needs from outside.

    Attributes:
        run: runs scp, sftp, rsync or the fsspec copier.
        check: called between pieces of work; raises to give up.
    """

    run: RunProgram
    check: Check


def stage_in(url: str, directory: Path, job_id: str, tools: Tools) -> None:
    """Copies a file, or what is in a directory, into the working directory. Files there of the same name are replaced.

    Everything is fetched before anything takes its place: what fails half-way leaves no half file.

    Raises:
        ValueError: the URL names no place.
        CopyFailed: a program could not copy.
        OSError: a file cannot be read or written.
    """
    place = parse(url)
    with _scratch(directory, job_id) as scratch:
        tree = scratch / "tree"
        tree.mkdir()
        if place.carrier is Carrier.LOCAL:
            _fetch_local(Path(place.where), tree, tools.check, scratch / "draft")
        else:
            _fetch(place, tree, tools.run)
            open_directories(tree)
            tree = _unwrap(tree, place)
        tools.check()
        move_into(tree, directory)


def _fetch_local(source: Path, tree: Path, check: Check, draft: Path) -> None:
    if source.is_dir():
        copy_tree(source, tree, check, draft=draft)
    else:
        copy_file(source, tree / source.name, check, draft=draft)


def _fetch(place: Place, tree: Path, run: RunProgram) -> None:
    if place.carrier is Carrier.SCP:
        run(["scp", *carriers.SSH_OPTIONS, "-r", "-p", "--", place.where, "."], tree, "")
    elif place.carrier is Carrier.RSYNC:
        run([*carriers.rsync(place), "--", place.where, "."], tree, "")
    else:
        run(carriers.fsspec("get"), tree, place.where)


def _unwrap(tree: Path, place: Place) -> Path:
    """Where the files are: scp and rsync copy a directory as one, under its own name."""
    entries = list(tree.iterdir())
    as_one = place.carrier is Carrier.SCP or (place.carrier is Carrier.RSYNC and not place.where.endswith("/"))
    if as_one and [entry.name for entry in entries] == [place.base_name]:
        entry = entries[0]
        return entry if entry.is_dir() and not entry.is_symlink() else tree
    return tree


@contextlib.contextmanager
def _scratch(directory: Path, job_id: str) -> Iterator[Path]:
    """A directory of its own on the working directory's file system; what a scheduler that died left is removed."""
    path = directory / f"{_OURS}{job_id}"
    remove_tree(path)
    path.mkdir(mode=0o700)
    try:
        with by_descriptor(os.open(path, _ENTER), path) as scratch:
            if scratch.stat().st_uid != os.geteuid():
                raise OSError(None, "was put in the place of ours by somebody else", os.fspath(scratch))
            yield scratch
    finally:
        remove_tree(path)


_OURS = ".balsam-"
_ENTER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True)
class Selection:
    """Files to stage out.

    Attributes:
        files: path under the working directory -> the plain file to read.
        left_out: matches that are not copied: links that lead out of the working directory, pipes and the like.
    """

    files: dict[str, Path] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def select(directory: Path, patterns: list[str], check: Check) -> Selection:
    """The files of a working directory that match, and those in directories that match.

    Raises:
        ValueError: a pattern leads out of the directory.
        OSError: a directory cannot be read.
    """
    selection = Selection()
    root = os.path.realpath(directory)
    for path in find(directory, patterns, check):
        _add(selection, directory, path, root, check)
    return selection


def _add(selection: Selection, directory: Path, path: str, root: str, check: Check) -> None:
    if path in selection.files or path.startswith(_OURS):
        return
    check()
    file = directory / path
    mode = file.lstat().st_mode
    if stat.S_ISDIR(mode):
        for name in sorted(os.listdir(file)):
            _add(selection, directory, f"{path}/{name}", root, check)
    elif stat.S_ISREG(mode) or (stat.S_ISLNK(mode) and file.is_file() and inside(file, root)):
        selection.files[path] = file
    else:
        selection.left_out.append(path)


def stage_out(url: str, directory: Path, patterns: list[str], job_id: str, tools: Tools) -> list[str]:
    """Copies every match to a directory, under its path in the working directory; gives what was left out.

    Raises:
        ValueError: the URL names no place, or a pattern leads out of the working directory.
        CopyFailed: a program could not copy.
        OSError: a file cannot be read or written.
    """
    place = parse(url)
    root = os.path.realpath(directory)
    selection = select(directory, patterns, tools.check)
    if place.carrier is Carrier.LOCAL:
        _send_local(selection.files, Path(place.where), job_id, root, tools.check)
    elif selection.files:
        with _scratch(directory, job_id) as scratch:
            tree = scratch / "tree"
            _gather(selection.files, tree, root, tools.check, scratch / "draft")
            _send(place, tree, tools.run)
    return selection.left_out


def _send_local(files: dict[str, Path], target: Path, job_id: str, root: str, check: Check) -> None:
    """Copies files of the working directory `root` into `target`, which may lead there through links."""
    target.mkdir(parents=True, exist_ok=True)
    target_root = os.path.realpath(target)
    for path, source in files.items():
        folder, _, name = path.rpartition("/")
        with _directory_below(target, target_root, folder) as there:
            copy = there / name
            if not (copy.exists() and copy.samefile(source)):
                copy_file(source, copy, check, draft=there / f"{_OURS}{job_id}.part", within=root)


@contextlib.contextmanager
def _directory_below(target: Path, root: str, folder: str) -> Iterator[Path]:
    """A directory below the target, made where there is none. A link on the way must not lead the copies elsewhere."""
    descriptor = os.open(target, _ENTER)
    path = target
    for part in filter(None, folder.split("/")):
        above, path = descriptor, path / part
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=above)
            descriptor = os.open(part, _ENTER, dir_fd=above)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        finally:
            os.close(above)
        if not lies_in(descriptor, root):
            os.close(descriptor)
            raise OSError(None, f"is a link that leads out of {target}", os.fspath(path))
    with by_descriptor(descriptor, path) as here:
        yield here


def _gather(files: dict[str, Path], tree: Path, root: str, check: Check, draft: Path) -> None:
    """Makes a directory that holds the files of the working directory `root` and nothing else: hard links, else
    copies."""
    tree.mkdir()
    for path, source in files.items():
        check()
        place = tree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_plain(source, within=root)
        try:
            # With a directory's descriptor, which counts for nothing here, Python follows the link that this path is.
            os.link(f"/proc/self/fd/{descriptor}", place, src_dir_fd=descriptor)
        except OSError:
            copy_file(source, place, check, draft=draft, within=root)
        finally:
            os.close(descriptor)


def _send(place: Place, tree: Path, run: RunProgram) -> None:
    """Copies what is in `tree` to `place`, a directory that is made where there is none."""
    if place.carrier is Carrier.FSSPEC:
        run(carriers.fsspec("put"), tree, place.where)
        return
    # The final slash: it is a directory.
    where = place.where if place.where.endswith((":", "/")) else f"{place.where}/"
    if place.carrier is Carrier.RSYNC:
        _send_by_rsync(place, where, tree, run)
        return
    # To a directory that is not there, scp would copy another directory under its name.
    command, batch = carriers.make_directories(place)
    run(command, tree, batch)
    entries = [f"./{entry}" for entry in sorted(os.listdir(tree))]
    for first in range(0, len(entries), _ENTRIES_AT_ONCE):
        chosen = entries[first : first + _ENTRIES_AT_ONCE]
        run(["scp", *carriers.SSH_OPTIONS, "-r", "-p", "--", *chosen, where], tree, "")


def _send_by_rsync(place: Place, where: str, tree: Path, run: RunProgram) -> None:
    command = carriers.rsync(place)
    try:
        run([*command, "--", "./", where], tree, "")
    except CopyFailed as error:
        if error.code != carriers.RSYNC_FILE_ERROR:
            raise
        # By itself it makes the last directory of a path only. Versions before 3.2.3 do not know the option.
        run([*command, "--mkpath", "--", "./", where], tree, "")
