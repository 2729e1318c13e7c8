"""What a seeded bug is: a text of the sources in place of which another breaks a promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Edit:
    """A text that occurs once in a file, and what stands there instead."""

    file: str
    """Relative to the root of the sources."""
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Changes the file below `root`.

        Raises:
            ValueError: the text does not occur exactly once.
        """
        path = root / self.file
        text = path.read_text()
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.file} holds this {count} times, not once: {self.old!r}")
        path.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True)
class Bug:
    """A bug that breaks a promise, and who should notice."""

    name: str
    breaks: str
    """What is not true any more."""
    edits: tuple[Edit, ...]
    detectors: tuple[str, ...]
    """Names of detectors, in the order in which they are asked."""

    def apply(self, root: Path) -> None:
        """Seeds it below `root`. Raises ValueError where the sources have changed."""
        for edit in self.edits:
            edit.apply(root)


def bug(name: str, breaks: str, file: str, old: str, new: str, *detectors: str) -> Bug:
    """A bug of one edit."""
    return Bug(name, breaks, (Edit(file, old, new),), detectors)


def by_name(bugs: Sequence[Bug], names: Sequence[str]) -> list[Bug]:
    """The bugs with these names; all if there are none.

    Raises:
        ValueError: there is no such bug.
    """
    known = {each.name: each for each in bugs}
    for name in names:
        if name not in known:
            raise ValueError(f"there is no bug {name!r}; there are: {', '.join(known)}")
    return [known[name] for name in names] or list(bugs)
