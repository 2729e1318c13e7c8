"""The command line against a real site."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from balsam.site import Site
from balsam_cli.main import main


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its JSON document."""
        return json.loads(self.out)

    @property
    def ids(self) -> list[str]:
        """The words that it printed."""
        assert self.status == 0, self.err
        return self.out.split()


Balsam = Callable[..., Result]


@pytest.fixture
def balsam(site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Balsam:
    """Runs a command line on the site, in this process: fast, for all that needs no process of its own."""
    monkeypatch.setenv("BALSAM_DB_PATH", str(site.path))
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def run(*argv: str) -> Result:
        capfd.readouterr()
        status = main(list(argv))
        captured = capfd.readouterr()
        return Result(status, captured.out, captured.err)

    return run


@pytest.fixture
def balsam_process(site: Site) -> Balsam:
    """Runs a command line on the site in a process of its own."""

    def run(*argv: str, timeout: float = 60.0, **environ: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "balsam_cli", *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=os.environ | {"BALSAM_DB_PATH": str(site.path)} | environ,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


def start(site: Site, *argv: str, at: str = "") -> subprocess.Popen[str]:
    """A command that goes on beside the test; `at`: how it knows the site, if not by its path."""
    return subprocess.Popen(
        [sys.executable, "-m", "balsam_cli", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"BALSAM_DB_PATH": at or str(site.path)},
    )
