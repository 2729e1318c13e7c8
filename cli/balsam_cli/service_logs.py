"""The logs of the services and launchers of a site: their ends, and what comes."""

from __future__ import annotations

import sys
from pathlib import Path

from balsam.site import Site
from balsam_cli.output import Record
from balsam_cli.tail import Tail, last_lines, wait_for_more
from balsam_cli.text import printable


def files(site: Site, start: str) -> list[Path]:
    """The logs whose names start so, by name."""
    return sorted(file for file in site.log.glob("*.log") if file.name.startswith(start))


def record(file: Path, lines: int) -> Record:
    """The end of a log, for `--json`."""
    return {"name": file.stem, "file": str(file), "lines": last_lines(file, lines).splitlines()}


def show(site: Site, start: str, lines: int, *, follow: bool) -> None:
    """Prints the last lines of each log; to follow, goes on until it is interrupted, or nobody reads it any more.

    A launcher that is started meanwhile has a log that was not there: it is shown from its beginning.
    """
    tails: dict[Path, Tail] = {}
    for file in files(site, start):
        tails[file] = Tail(file, file.stat().st_size)
        _print(file, last_lines(file, lines))
    while follow:
        for file in files(site, start):
            _print(file, tails.setdefault(file, Tail(file)).text())
        wait_for_more()


def _print(file: Path, text: str) -> None:
    if text:
        sys.stdout.write(f"==> {file.name} <==\n{printable(text.rstrip())}\n\n")
        sys.stdout.flush()
