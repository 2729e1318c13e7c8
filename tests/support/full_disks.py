"""A file system that is soon full: a small tmpfs, where mounting is allowed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.components import MARK


@pytest.fixture
def small_filesystem(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Gives directories that hold so many bytes each."""
    mounted: list[Path] = []

    def make(size: int) -> Path:
        directory = tmp_path / f"small-{len(mounted)}"
        directory.mkdir()
        command = [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size={size},mode=0700,uid={os.getuid()}",
            "tmpfs",
            os.fspath(directory),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            # Nothing that could be installed would change that.
            pytest.skip(f"{MARK} the right to mount a tmpfs: {done.stderr.strip()}")
        mounted.append(directory)
        return directory

    yield make
    for directory in mounted:
        subprocess.run(["umount", "-l", os.fspath(directory)], check=True)
