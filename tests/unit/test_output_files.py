"""Output files that cannot be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from balsam.outputs import OutputFile


def test_a_file_that_fails_while_it_is_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "run.out").write_text("text")

    def fail(*given: object) -> bytes:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(OSError, match="Stale file handle") as caught:
        OutputFile(str(tmp_path), "run.out").read(0)
    assert caught.value.filename == str(tmp_path / "run.out")
