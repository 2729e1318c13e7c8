"""What a check found: one line, and the commands that mend it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from balsam_cli.output import Record

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        check: name of the check.
        level: `OK`; `NOTE`, worth knowing; or `PROBLEM`, which needs to be mended.
        found: what was seen, with the values.
        fixes: commands that mend it, to be typed in this order.
    """

    check: str
    level: str
    found: str
    fixes: tuple[str, ...] = ()

    def as_record(self) -> Record:
        """As plain data for `--json`."""
        return {"check": self.check, "level": self.level, "found": self.found, "fixes": list(self.fixes)}


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, OK, found)


def note(check: str, found: str, *fixes: str) -> Finding:
    """Something to know."""
    return Finding(check, NOTE, found, fixes)


def problem(check: str, found: str, *fixes: str) -> Finding:
    """Something to mend."""
    return Finding(check, PROBLEM, found, fixes)


def quoted(path: Path) -> str:
    """A path as a word of a command."""
    return shlex.quote(str(path))
