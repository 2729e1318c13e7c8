"""Signals that come while a launcher is still being loaded: one line, and an exit status that tells which."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from balsam.site import Site

STOP = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]

AT_AN_IMPORT = """
import os, sys
class Signals:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Signals())
from balsam_launcher.__main__ import main
sys.exit(main(["--site", {site!r}]))
"""

BEFORE_THE_LAUNCHER = """
import os, sys
take_over = os.execv
def execv(*arguments):
    os.kill(os.getpid(), {number})
    take_over(*arguments)
os.execv = execv
from balsam_cli.start import main
sys.exit(main())
"""


def said(program: str, *words: str, ignored: bool = False) -> tuple[int, str]:
    """Exit status and stderr of a Python program."""
    command = [sys.executable, "-c", program, *words]
    if ignored:
        command = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("module", ["balsam_launcher.command", "grpc", "balsam_launcher.launcher"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_it_is_loaded(site: Site, module: str, number: signal.Signals) -> None:
    program = AT_AN_IMPORT.format(module=module, number=int(number), site=str(site.path))
    assert said(program) == (128 + number, f"balsam launcher: stopped by {number.name} before it had begun\n")


@pytest.mark.parametrize("number", STOP)
def test_while_the_command_becomes_the_launcher(
    site: Site, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALSAM_DB_PATH", str(site.path))
    status, stderr = said(BEFORE_THE_LAUNCHER.format(number=int(number)), "launcher", "--print-command")
    assert (status, stderr) == (128 + number, f"balsam launcher: stopped by {number.name} before it had begun\n")


def test_what_is_ignored_stays_so(site: Site) -> None:
    program = AT_AN_IMPORT.format(module="grpc", number=int(signal.SIGINT), site=str(site.path))
    status, stderr = said(program.replace('"--site"', '"--print-command", "--site"'), ignored=True)
    assert (status, stderr) == (0, "")
