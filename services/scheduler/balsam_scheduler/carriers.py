"""The commands that copy files between hosts. None of them asks anything, or waits for ever for a host."""

from __future__ import annotations

import re
import sys

from balsam_scheduler.places import Place

SSH_OPTIONS = (
    *("-o", "BatchMode=yes"),  # fails where it would ask for a password, or whether it knows the host
    *("-o", "ConnectTimeout=20"),
    *("-o", "ServerAliveInterval=15"),  # a host that is silent for a minute is gone
    *("-o", "ServerAliveCountMax=4"),
    *("-o", "ClearAllForwardings=yes"),
)
RSYNC_FILE_ERROR = 11
"""Exit code of rsync: among other things, a directory cannot be made."""


def rsync(place: Place) -> list[str]:
    """The command for a copy from or to a place, without what is copied and where.

    File modes are those of the source under the umask; directories that are there stay as they are.
    -s: the shell over there does not see the paths, so that blanks and quotes in them are their own.
    """
    command = ["rsync", "-s", "-rltOE"]
    if place.is_daemon:
        return [*command, "--contimeout=20", "--timeout=60"]
    return [*command, "-e", " ".join(["ssh", *SSH_OPTIONS])]


def make_directories(place: Place) -> tuple[list[str], str]:
    """The sftp command that makes the directory of an SCP place, with those above it; and its standard input.

    scp speaks the same protocol, so that this works on hosts that allow no shell.
    """
    host, path = place.sftp
    command = ["sftp", *SSH_OPTIONS, "-b", "-", "--", host]
    # Those that are there fail, which the dash before the command allows; that it is there in the end, `cd` tells.
    lines = [f"-mkdir {_quote(directory)}" for directory in _with_parents(path)]
    return command, "\n".join([*lines, f"cd {_quote(path or '.')}", ""])


def _with_parents(path: str) -> list[str]:
    """A path and the directories above it, highest first."""
    return [path[: part.end()] for part in re.finditer("[^/]+", path)]


def _quote(path: str) -> str:
    """A path as one word of an sftp command. Relative ones begin with ./, not to be taken for an option."""
    text = path if path.startswith("/") else f"./{path}"
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def fsspec(direction: str) -> list[str]:
    """The command that copies by fsspec; `direction` is ``get`` or ``put``. It reads the URL from standard input."""
    # The URL may hold a password, and everybody can read a command line.
    # -P: it runs among the job's files, and must import none of them.
    return [sys.executable, "-P", "-m", "balsam_scheduler.fsspec_copy", direction]
