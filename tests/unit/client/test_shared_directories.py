"""Directories between a shared one and a job's own are shared, too."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.directories import open_below


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize(("root", "expected"), [(0o2770, [0o2775, 0o2775, 0o2755]), (0o755, [0o755, 0o755, 0o755])])
def test_what_lies_between_is_as_shared_as_its_root(tmp_path: Path, root: int, expected: list[int]) -> None:
    tmp_path.chmod(root)
    os.close(open_below(tmp_path, "wf/sub/job", make=True))
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("wf", "wf/sub", "wf/sub/job")] == expected
