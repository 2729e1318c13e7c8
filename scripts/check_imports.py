"""Checks the layers: no service imports another, and the library imports none of them.

They meet over gRPC only, so that each can be restarted, replaced and scaled by itself.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PACKAGES = {
    "balsam": "client",
    "balsam_jobstore": "services/jobstore",
    "balsam_scheduler": "services/scheduler",
    "balsam_launcher": "services/launcher",
    "balsam_cli": "cli",
    "balsam_web": "web",
}
"""Package -> the directory that it is in."""

EXCEPTIONS = {"balsam_cli": ("balsam_launcher", "balsam_scheduler.batch", "balsam_web")}
"""The command `balsam launcher` is the launcher, in the same process, and `balsam web` serves the page. Launches are
submitted and cancelled in the shell and the account of who asks for that, so by the command itself; the scheduler only
looks after them."""


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of every import in a module, those inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def violations(package: str, source: str) -> list[tuple[int, str]]:
    """Lines of a module of `package` that import what it must not: packages of ours, other than itself and `balsam`."""
    forbidden = PACKAGES.keys() - {package, "balsam"}
    allowed = tuple(f"{name}." for name in EXCEPTIONS.get(package, ()))
    names = [(line, name) for line, name in imported(source) if not f"{name}.".startswith(allowed)]
    return [(line, name.partition(".")[0]) for line, name in names if name.partition(".")[0] in forbidden]


def main() -> int:
    """Prints the violations; 1 if there are any."""
    found = 0
    for package, directory in PACKAGES.items():
        for file in sorted((ROOT / directory / package).rglob("*.py")):
            for line, name in violations(package, file.read_text()):
                print(f"{file.relative_to(ROOT)}:{line}: {package} must not import {name}")
                found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
