"""Relative paths in the commands of an application."""

from __future__ import annotations

from pathlib import Path

import pytest

from balsam.application import ApplicationDefinition, absolute
from balsam.errors import ValidationError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with some files in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    for name in ("sim.x", "bin/run me", "sh"):
        (tmp_path / name).touch(mode=0o755)
    return tmp_path


def test_a_file_that_exists_is_made_absolute_and_the_rest_kept(here: Path) -> None:
    assert absolute("sim.x  -a 'b  c' $HOME") == f"{here}/sim.x  -a 'b  c' $HOME"
    assert absolute("./sim.x") == f"{here}/sim.x"
    assert absolute("'bin/run me' \"-x\"") == f"'{here}/bin/run me' -x"


@pytest.mark.parametrize(
    "command", ["", "echo hi", "missing.x -a", "./missing", "/bin/sh -c x", "~/sim.x", "$HOME/x", "bin", "sim.x '"]
)
def test_all_else_is_left_as_it_is(here: Path, command: str) -> None:
    assert absolute(command) == command


def test_a_command_on_path_is_not_taken_for_a_file_of_that_name(here: Path) -> None:
    assert absolute("sh -c true") == "sh -c true"


def test_what_an_application_needs() -> None:
    for fields in ({}, {"name": "a"}, {"executable": "/bin/true"}):
        with pytest.raises(ValidationError, match="an application needs name and executable"):
            ApplicationDefinition(**fields).save()
    with pytest.raises(ValidationError, match="python = 'x': is read-only"):
        ApplicationDefinition(python="x")
    with pytest.raises(ValidationError, match="'exec' is not a field of ApplicationDefinition"):
        ApplicationDefinition(exec="x")
