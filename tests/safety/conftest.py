"""One ground for all attacks of a process: it takes seconds to make. No other test may have its traps on PATH."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.safety.ground import Ground, ground_in


@pytest.fixture(scope="package")
def ground(_short_directory_for_sockets: None) -> Iterator[Ground]:
    """A site with services and a launcher, beside files that nothing may touch."""
    with tempfile.TemporaryDirectory(prefix="balsam-ground-") as name, ground_in(Path(name)) as made:
        yield made
