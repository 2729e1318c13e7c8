"""What every test gets: an environment that is nobody's, and the fixtures of ``tests/support``."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest_plugins = [
    "tests.support.components",
    "tests.support.databases",
    "tests.support.full_disks",
    "tests.support.namespaces",
    "tests.support.postgres",
    "tests.support.sites",
    "tests.support.slurm",
    "tests.support.ssh",
]


@pytest.fixture(scope="session", autouse=True)
def _interrupts_arrive() -> None:
    """Who runs the tests in the background of a shell has SIGINT ignored, and so would all that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _short_directory_for_sockets() -> Iterator[None]:
    """Paths of pytest are too long for sockets: sites put theirs here, and nothing of them stays."""
    with tempfile.TemporaryDirectory(prefix="balsam-run-") as directory, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", directory)
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No site, token or list of sites of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("BALSAM_") and name != "BALSAM_PG_BIN"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user-data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user-state"))
