"""Talk with the person at the terminal, if there is one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator

from balsam.errors import NotAllowed
from balsam_cli.text import one_line


def interactive() -> bool:
    """Whether somebody is there to ask: both input and output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def note(text: str) -> None:
    """One line on stderr that is no error."""
    print(one_line(text), file=sys.stderr, flush=True)


def hint(text: str) -> None:
    """What is useful next: one dim line on stderr, and only where a person reads both streams."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        return
    line = one_line(f"next: {text}")
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    print(line if plain else f"\x1b[2m{line}\x1b[0m", file=sys.stderr, flush=True)


def must_agree(question: str, yes: bool, what: str) -> None:
    """Goes on if the user agrees.

    Raises:
        NotAllowed: the user said no; or nobody is there to ask, and neither --yes nor --force was given.
    """
    if yes:
        return
    if not interactive():
        raise NotAllowed(f"{what}: this is not a terminal, so nobody can be asked; add --yes to go ahead")
    if not _agrees(question):
        raise NotAllowed("nothing was done")


def _agrees(question: str) -> bool:
    print(f"{one_line(question)} [y/N]: ", end="", file=sys.stderr, flush=True)
    with _woken_by_signals() as woken:
        select.select([sys.stdin, woken], [], [])
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@contextlib.contextmanager
def _woken_by_signals() -> Iterator[int]:
    """A descriptor that is readable once a signal has come.

    Python looks for signals before it reads from a terminal, and when the read is interrupted; to one that comes in
    between it is deaf until something is typed. So a read begins only when there is something to read.
    """
    ours, theirs = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(before)
        os.close(ours)
        os.close(theirs)
