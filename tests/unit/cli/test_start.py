"""What every command has in common: cheap start, help, errors in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from balsam_cli.group import COMMANDS
from balsam_cli.main import cli, main

NAMES = [name for section in COMMANDS.values() for name in section]
HEAVY = {
    "grpc",
    "sqlalchemy",
    "rich",
    "google.protobuf",
    "balsam.v1",
    "psutil",
    "platformdirs",
    "numpy",
    "balsam_launcher",
    "starlette",
    "uvicorn",
}


def balsam(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "balsam_cli", *argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environ,
    )


@pytest.mark.parametrize("argv", [["--help"], *([name, "--help"] for name in NAMES)], ids=" ".join)
def test_help_imports_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import sys; from balsam_cli.main import main; status = main(sys.argv[1:]);"
        f"print(*({HEAVY} & set(sys.modules)), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True)
    assert done.stderr.split() == []
    assert done.stdout.startswith("Usage: balsam")


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_a_summary_and_documented_options(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help
    undocumented = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert undocumented == []


def test_the_help_lists_every_command() -> None:
    text = CliRunner().invoke(cli, ["--help"]).output
    assert [name for name in NAMES if f"  {name} " not in text] == []
    assert CliRunner().invoke(cli, []).output == text


def test_an_unknown_command_lists_the_valid_ones() -> None:
    done = balsam("jbo")
    assert done.returncode == 2
    assert "no such command 'jbo'; did you mean 'job'? (commands: run, init, up" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "argv",
    [
        *("--foo", "ls --foo", "ls nodes", "ls launches --tree", "ls wf --history", "ls --by-states --watch"),
        *("ls launches --name n", "ls launches --id 1", "ls launches --wf w", "ls launches --by-states"),
        *("ls apps --by-states", "ls apps --state FAILED", "ls apps --id 1", "ls apps --wf w", "ls wf --by-states"),
        "ls --by-states --limit 3",
        *(
            "ls --tree --watch",
            "ls --watch --json",
            "ls --limit -1",
            "job --name",
            "job stray",
            "job --file f --name n",
        ),
        *("kill", "show", "rm jobs", "rm jobs --all --name x", "rm apps --all --kill", "modify jobs 1234 --attr a"),
        *("dep 1234", "run", "make-dummies 0", "completion tcsh", "launcher --consume-all --wf-filter w"),
        *("launcher --job-mode fast", "app --name a --update", "job --ra", "service --json"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(argv: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(argv.split()) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1


def test_no_site_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    for argv in (["ls"], ["status"], ["up"], ["launcher"], ["service"], ["job", "--name", "a"]):
        done = balsam(*argv, BALSAM_DB_PATH=str(tmp_path))
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{tmp_path} is not a Balsam site; make one with `balsam init" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_version_is_told() -> None:
    from balsam.version import VERSION

    assert balsam("--version").stdout == f"balsam {VERSION}\n"


def test_a_full_disk_is_one_line_and_status_1() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "balsam_cli", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "balsam: No space left on device; make room and try again\n")


def test_a_reader_that_goes_away_is_no_news() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "balsam_cli", "--help"], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.stderr == ""


@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_obstacle(closed: str) -> None:
    command = f"{sys.executable} -m balsam_cli --version {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_words_that_are_no_text_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "balsam_cli", "ls", "--name", b"\xff"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "is not valid UTF-8" in done.stderr


class _Broken(click.Command):
    def __init__(self, error: BaseException) -> None:
        super().__init__("broken")
        self.error = error

    def main(self, *_args: object, **_kwargs: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (
            RuntimeError("two\nlines"),
            1,
            "balsam: unexpected error: RuntimeError: two lines (BALSAM_DEBUG=1 shows where)",
        ),
        (FileNotFoundError(2, "No such file or directory", "/x"), 1, "balsam: No such file or directory: /x"),
        (KeyboardInterrupt(), 128 + signal.SIGINT, ""),
        (click.Abort(), 130, ""),
        (SystemExit(3), 3, ""),
    ],
)
def test_whatever_goes_wrong_is_at_most_one_line(
    error: BaseException, status: int, text: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("balsam_cli.main.cli", _Broken(error))
    monkeypatch.setattr("balsam_cli.main._drop_stdout", lambda: None)
    assert main([]) == status
    assert capfd.readouterr().err.rstrip("\n") == text


def test_a_traceback_is_shown_to_who_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("balsam_cli.main.cli", _Broken(RuntimeError("why")))
    monkeypatch.setenv("BALSAM_DEBUG", "1")
    assert main([]) == 1
    assert "Traceback" in capfd.readouterr().err


def test_an_interrupt_while_it_is_loaded_ends_it_quietly() -> None:
    code = (
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'balsam_cli.main':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "sys.argv = ['balsam', 'ls']\n"
        "from balsam_cli.start import main\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_completion_script_for_each_shell(shell: str) -> None:
    done = balsam("completion", shell)
    assert done.returncode == 0
    assert "_BALSAM_COMPLETE" in done.stdout


def test_commands_and_options_are_completed() -> None:
    done = balsam(_BALSAM_COMPLETE="bash_complete", COMP_WORDS="balsam ls --by", COMP_CWORD="2")
    assert "--by-states" in done.stdout
