"""Somebody else with an account on this machine, in a group with the site's owner: a real process of another user."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.components import missing

TEAMMATE = 65_534
"""A user that owns nothing; of the same number is its own group."""

GROUP = 1
"""A group that the owner of a site gives files to ("daemon"), and that the other user is put into."""

# In the program itself: the interpreter may be in a directory that is closed to others.
_BECOME = f"import os, sys; os.setgroups([{GROUP}]); os.setgid({TEAMMATE}); os.setuid({TEAMMATE}); os.umask(0)"


def as_teammate(code: str, *arguments: str | Path) -> str:
    """What Python code prints that the other user runs, with no umask; its arguments are in ``sys.argv[1:]``."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"{_BECOME}\n{code}", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def project() -> Iterator[Path]:
    """A directory that a group shares, as projects have them, and that hands its group on; umask 002."""
    if os.getuid() != 0:
        missing("root", "only root can be another Unix user")
    before = os.umask(0o002)
    try:
        with tempfile.TemporaryDirectory(prefix="balsam-") as directory:
            os.chown(directory, -1, GROUP)
            os.chmod(directory, 0o2775)
            yield Path(directory)
    finally:
        os.umask(before)
