"""Stage-in from parents: links in a job's working directory to its parents' files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from balsam_scheduler.globbing import find


@dataclass(frozen=True)
class Parent:
    """A parent, as far as its files go."""

    job_id: str
    directory: Path


def link_parents(
    directory: Path,
    parents: list[Parent],
    patterns: list[str],
    own_files: Collection[str],
    check: Callable[[], None] = lambda: None,
) -> list[str]:
    """Links every file of the parents that matches into `directory`; gives the names of the links.

    A name that is taken, or one of `own_files` (which Balsam writes to), gets the suffix `_{parent_id[:8]}`. Done
    again, it finds its own links and makes no others. A parent without a directory has no files.

    Raises:
        ValueError: a pattern leads out of the directory.
        OSError: a directory cannot be read or written.
    """
    names = []
    for parent in parents:
        if not parent.directory.is_dir():
            continue
        for path in find(parent.directory, patterns, check):
            check()
            names.append(_link(directory, parent, path, own_files))
    return names


def _link(directory: Path, parent: Parent, path: str, own_files: Collection[str]) -> str:
    target = os.fspath(parent.directory / path)
    for name in _candidates(os.path.basename(path), parent.job_id):
        if name in own_files:
            continue
        try:
            os.symlink(target, directory / name)
        except FileExistsError:
            if not _leads_to(directory / name, target):
                continue
        return name
    raise AssertionError("the candidates never end")


def _candidates(base_name: str, parent_id: str) -> Iterator[str]:
    """Names for a link, best first. A third file of one name and parent is counted."""
    yield base_name
    suffixed = f"{base_name}_{parent_id[:8]}"
    yield suffixed
    for number in itertools.count(2):
        yield f"{suffixed}_{number}"


def _leads_to(link: Path, target: str) -> bool:
    try:
        return os.readlink(link) == target
    except OSError:
        return False
