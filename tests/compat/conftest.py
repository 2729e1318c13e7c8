"""Scripts as users of Balsam 0.x have them, in `scripts/`, and the shell that they are started from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam import client as clients
from balsam.site import Site
from tests.support.invariants import violations_of_site
from tests.support.processes import log_tails, services

SCRIPTS = Path(__file__).parent / "scripts"


class LoginShell:
    """A user's own directory, with all scripts in it."""

    def __init__(self, site: Site, directory: Path) -> None:
        self.site = site
        self.directory = directory
        shutil.copytree(SCRIPTS, directory)

    def python(self, script: str, *args: str, timeout: float = 60.0) -> str:
        """Runs ``python SCRIPT ARGS...`` to its end; gives what it has printed, and fails the test if it fails."""
        done = subprocess.run(
            [sys.executable, script, *args],
            cwd=self.directory,
            env=os.environ | {"BALSAM_DB_PATH": str(self.site.path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0 or done.stderr:
            pytest.fail(f"{script} ended with {done.returncode}\n{done.stdout}\n{done.stderr}\n{log_tails(self.site)}")
        return done.stdout


@pytest.fixture
def shell(any_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoginShell]:
    """A login shell beside the running services of `any_site`, which is the site of the plain names as well.

    Afterwards the database is looked through: every history must be a path of the state graph, by the right actors.
    """
    monkeypatch.setenv("BALSAM_DB_PATH", str(any_site.path))
    clients.reset()
    with services(any_site):
        yield LoginShell(any_site, tmp_path / "home")
        clients.reset()
    assert violations_of_site(any_site) == []
