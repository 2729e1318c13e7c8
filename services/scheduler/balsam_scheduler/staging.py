"""Stage-in from a URL and stage-out to one."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from balsam_scheduler.copying import Check, copy_file, copy_tree, inside, move_into, remove_tree
from balsam_scheduler.globbing import find
from balsam_scheduler.places import Carrier, Place, parse

_ENTRIES_AT_ONCE = 1000  # in one command line

RunProgram = Callable[[list[str], Path, str], None]
"""(command, directory, standard input): runs a program to its end; raises unless it succeeds."""


@dataclass(frozen=True)
class Tools:
    """What staging needs from outside.

    Attributes:
        run: runs scp, rsync or the fsspec copier.
        check: called between pieces of work; raises to give up.
    """

    run: RunProgram
    check: Check


def stage_in(url: str, directory: Path, job_id: str, tools: Tools) -> None:
    """Copies a file, or what is in a directory, into the working directory. Files there of the same name are replaced.

    Everything is fetched before anything takes its place: what fails half-way leaves no half file.

    Raises:
        ValueError: the URL names no place.
        OSError: a file cannot be read or written.
    """
    place = parse(url)
    with _scratch(directory, job_id) as scratch:
        tree = scratch / "tree"
        tree.mkdir()
        if place.carrier is Carrier.LOCAL:
            _fetch_local(Path(place.where), tree, tools.check, scratch / "draft")
        else:
            tools.run(_fetch_command(place), tree, place.where)
            tree = _unwrap(tree, place.base_name)
        tools.check()
        move_into(tree, directory)


def _fetch_local(source: Path, tree: Path, check: Check, draft: Path) -> None:
    if source.is_dir():
        copy_tree(source, tree, check, draft=draft)
    else:
        copy_file(source, tree / source.name, check, draft=draft)


def _fetch_command(place: Place) -> list[str]:
    """The command that copies `place` into its current directory."""
    if place.carrier is Carrier.SCP:
        return ["scp", "-B", "-q", "-r", "-p", "--", place.where, "."]
    if place.carrier is Carrier.RSYNC:
        return ["rsync", "-rlpt", "--", place.where, "."]
    return _fsspec_command("get")


def _fsspec_command(direction: str) -> list[str]:
    # The URL comes on standard input: it may hold a password, and everybody can read a command line.
    # -P: it runs among the job's files, and must import none of them.
    return [sys.executable, "-P", "-m", "balsam_scheduler.fsspec_copy", direction]


def _unwrap(tree: Path, base_name: str) -> Path:
    """Where the files are: programs copy a directory as one, under its own name."""
    entries = list(tree.iterdir())
    if len(entries) == 1 and entries[0].name == base_name and entries[0].is_dir() and not entries[0].is_symlink():
        return entries[0]
    return tree


@contextlib.contextmanager
def _scratch(directory: Path, job_id: str) -> Iterator[Path]:
    """A directory of its own on the working directory's file system; what a scheduler that died left is removed."""
    path = directory / f"{_OURS}{job_id}"
    remove_tree(path)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        remove_tree(path)


_OURS = ".balsam-"


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
        OSError: a file cannot be read or written.
    """
    place = parse(url)
    selection = select(directory, patterns, tools.check)
    if place.carrier is Carrier.LOCAL:
        _send_local(selection.files, Path(place.where), job_id, tools.check)
    elif selection.files:
        with _scratch(directory, job_id) as scratch:
            tree = scratch / "tree"
            _gather(selection.files, tree, tools.check, scratch / "draft")
            for command in _send_commands(place, sorted(os.listdir(tree))):
                tools.run(command, tree, place.where)
    return selection.left_out


def _send_local(files: dict[str, Path], target: Path, job_id: str, check: Check) -> None:
    target.mkdir(parents=True, exist_ok=True)
    root = os.path.realpath(target)
    for path, source in files.items():
        copy = target / path
        # A link among the target's directories must not lead the copies elsewhere.
        if not inside(_make_directories(target, Path(path).parent), root):
            raise OSError(None, f"is a link that leads out of {target}", os.fspath(copy.parent))
        if not (copy.exists() and copy.samefile(source)):
            copy_file(source, copy, check, draft=copy.parent / f"{_OURS}{job_id}.part")


def _make_directories(target: Path, path: Path) -> Path:
    directory = target
    for part in path.parts:
        directory = directory / part
        if not directory.is_symlink():
            directory.mkdir(exist_ok=True)
    return directory


def _gather(files: dict[str, Path], tree: Path, check: Check, draft: Path) -> None:
    """Makes a directory that holds the files and nothing else: hard links, else copies."""
    tree.mkdir()
    for path, source in files.items():
        check()
        place = tree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(os.path.realpath(source), place)
        except OSError:
            copy_file(source, place, check, draft=draft)


def _send_commands(place: Place, entries: list[str]) -> Iterator[list[str]]:
    """The commands that copy what is in the current directory to `place`."""
    if place.carrier is Carrier.FSSPEC:
        yield _fsspec_command("put")
        return
    # The final slash: it is a directory, also where it does not exist yet.
    where = place.where if place.where.endswith((":", "/")) else f"{place.where}/"
    if place.carrier is Carrier.RSYNC:
        yield ["rsync", "-rlpt", "--", "./", where]
        return
    for first in range(0, len(entries), _ENTRIES_AT_ONCE):
        chosen = [f"./{entry}" for entry in entries[first : first + _ENTRIES_AT_ONCE]]
        yield ["scp", "-B", "-q", "-r", "-p", "--", *chosen, where]
