"""Talk with the person at the terminal, if there is one."""

from __future__ import annotations

import sys

import click

from balsam.errors import NotAllowed
from balsam_cli.text import one_line


def interactive() -> bool:
    """Whether somebody is there to ask: both input and output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def note(text: str) -> None:
    """One line on stderr that is no error."""
    print(one_line(text), file=sys.stderr, flush=True)


def must_agree(question: str, yes: bool, what: str) -> None:
    """Goes on if the user agrees.

    Raises:
        NotAllowed: the user said no; or nobody is there to ask, and neither --yes nor --force was given.
    """
    if yes:
        return
    if not interactive():
        raise NotAllowed(f"{what}: this is not a terminal, so nobody can be asked; add --yes to go ahead")
    if not click.confirm(question, default=False, err=True):
        raise NotAllowed("nothing was done")
