"""Small file systems that can be filled up and given room again."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.components import missing

_BALLAST = "ballast"


class SmallDisk:
    """A file system of its own at a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def fill(self) -> None:
        """Leaves no room, neither for a byte nor for a new file."""
        ballast = self.directory / _BALLAST
        ballast.mkdir()
        with open(ballast / "bytes", "ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))
        with contextlib.suppress(OSError):
            for number in itertools.count():
                (ballast / str(number)).touch()

    def free(self) -> None:
        """Gives all that room back."""
        shutil.rmtree(self.directory / _BALLAST)


@contextlib.contextmanager
def small_disk(directory: Path, megabytes: int, files: int = 200) -> Iterator[SmallDisk]:
    """A file system of so many megabytes and so many files at a directory, which is made if it is not there.

    What the directory holds is hidden meanwhile; whoever may not mount skips the test, loudly.
    """
    directory.mkdir(exist_ok=True)
    info = directory.stat()
    options = f"size={megabytes}m,nr_inodes={files},mode={info.st_mode & 0o7777:o},uid={info.st_uid},gid={info.st_gid}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", os.fspath(directory)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        missing("a small disk", f"file systems cannot be mounted here ({done.stderr.strip()})")
    try:
        yield SmallDisk(directory)
    finally:
        # A database server may need a moment to let go of its files.
        subprocess.run(["umount", "--lazy", directory], check=True)
