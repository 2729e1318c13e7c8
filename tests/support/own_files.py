"""Processes with files of their own in a directory, as on a node with a disk of its own. Nobody else sees these."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.support.components import missing


def with_own_files(directory: Path) -> list[str]:
    """What to put before a command: it and its children find an empty directory there, and keep what they write."""
    _check()
    directory.mkdir(exist_ok=True)
    script = f'mount -t tmpfs none "{directory}" && exec "$@"'
    return [*_UNSHARE, "sh", "-c", script, "sh"]


_UNSHARE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


@cache
def _check() -> None:
    if shutil.which("unshare") is None:
        missing("mount namespaces", "they need the command unshare (Debian: util-linux)")
    tried = subprocess.run([*_UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    if tried.returncode != 0:
        missing("mount namespaces", tried.stderr.strip())
