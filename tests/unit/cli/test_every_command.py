"""What every command keeps to: help with an example that can be typed, a place in the docs, one line for wrong usage.

A command that is added is tested here without being named.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from balsam_cli.group import SUMMARIES
from balsam_cli.main import cli, main
from balsam_cli.start import help_text
from scripts.check_imports import ROOT

NAMES = list(SUMMARIES)
WITHOUT_JSON = {
    "completion": "prints a script for a shell",
    "run": "prints what the job prints",
    "top": "is a full screen",
    "web": "is a page in the browser",
}
"""Commands that print no data, each with what it does instead."""


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def examples(name: str) -> Iterator[str]:
    """The lines of a command's help that somebody may type."""
    for line in (command_of(name).help or "").splitlines():
        if re.match(rf"""  +(eval "\$\()?balsam {name}\b""", line):
            yield line.strip().removeprefix('eval "$(').removesuffix(')"')


@pytest.mark.parametrize("name", NAMES)
def test_its_help_has_an_example_that_is_understood(name: str) -> None:
    lines = list(examples(name))
    assert lines, f"the help of `balsam {name}` has no example: a line after \\b that begins with `balsam {name}`"
    for line in lines:
        words = shlex.split(line, comments=True)[2:]
        end = next((number for number, word in enumerate(words) if word in (">", "|")), len(words))
        # What it needs and does not get, and what it does not know, is a usage error.
        command_of(name).make_context(name, words[:end])


@pytest.mark.parametrize("name", NAMES)
def test_it_is_in_the_docs(name: str) -> None:
    pages = [page for page in (ROOT / "docs").rglob("*.md") if "decisions" not in page.parts]
    assert any(f"`balsam {name}" in page.read_text() for page in pages), f"docs/ does not tell of `balsam {name}`"


@pytest.mark.parametrize("name", NAMES)
def test_what_prints_data_prints_json(name: str) -> None:
    options = [option for param in command_of(name).params for option in param.opts]
    assert ("--json" in options) != (name in WITHOUT_JSON)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_option_is_one_line_and_status_2(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--no-such-option-at-all"]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"balsam {name}: ")
    assert "no such option --no-such-option-at-all" in captured.err
    assert len(captured.err.splitlines()) == 1


def test_the_help_of_all_loads_nothing_but_the_list_of_commands() -> None:
    """It is what a person waits for first: click alone takes twice as long as all of it."""
    code = (
        "import sys; before = {*sys.modules}; sys.argv = ['balsam', '--help'];"
        "from balsam_cli.start import main; status = main();"
        "print(*{*sys.modules} - before, file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == help_text()
    assert set(done.stderr.split()) <= {"__future__", "balsam_cli", "balsam_cli.start", "balsam_cli.group"}


def test_help_that_nobody_reads_ends_without_a_word_and_help_on_a_full_disk_with_one_line() -> None:
    code = "from balsam_cli.start import main; raise SystemExit(main())"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    for output, said in ((writer, ""), (os.open("/dev/full", os.O_WRONLY), "No space left on device")):
        done = subprocess.run(
            [sys.executable, "-c", code, "--help"],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=buffered,
        )
        os.close(output)
        assert done.returncode == 1
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == (1 if said else 0)
