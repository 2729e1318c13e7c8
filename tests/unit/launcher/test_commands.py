"""From a job to the words, the environment and the messages of its run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from balsam import commands
from balsam.errors import ValidationError

HOME = {"HOME": "/home/ada", "TOOLS": "/opt/tools"}


@dataclass
class Program:
    executable: str = ""
    python: str = "/env/bin/python"
    envscript: str = ""


@dataclass
class Job:
    args: str = ""
    job_id: str = "1d7f0a3e-0000-4000-8000-000000000001"
    environ_vars: dict[str, str] = field(default_factory=dict)
    parents: list[str] = field(default_factory=list)
    threads_per_rank: int = 0


def words(executable: str, args: str = "") -> list[str]:
    return commands.command_line(Program(executable), Job(args), HOME)


# Words


@pytest.mark.parametrize(
    "text",
    ["", "  ", "a b", "a\t b\nc", "'a b' c", '"a \\"b" c', "a\\ b", "a#b", "über ŝ", "--x='1 2'", "a\u00a0b", "a\x0bb"],
)
def test_splits_as_a_posix_shell_does(text: str) -> None:
    assert commands.split(text) == shlex.split(text)


def test_a_quote_that_is_not_closed_is_named() -> None:
    with pytest.raises(ValidationError, match="No closing quotation"):
        commands.split("echo 'a")


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("~", "/home/ada"),
        ("~/in.txt", "/home/ada/in.txt"),
        ("a~", "a~"),
        ("~nobody-of-this-name/x", "~nobody-of-this-name/x"),
    ],
)
def test_home_is_taken_from_the_environment_of_the_run(word: str, expanded: str) -> None:
    assert commands.expand_home(word, HOME) == expanded


def test_home_of_another_user() -> None:
    assert commands.expand_home("~root/x", HOME).endswith("/x")
    assert not commands.expand_home("~root/x", HOME).startswith("~")


def test_a_root_home_gives_no_double_slash() -> None:
    assert commands.expand_home("~/x", {"HOME": "/"}) == "/x"
    assert commands.expand_home("~", {"HOME": "/"}) == "/"


# Command lines


def test_executable_and_args_are_joined() -> None:
    assert words("/bin/echo -n", "a 'b c'") == ["/bin/echo", "-n", "a", "b c"]


def test_variables_are_expanded_in_the_executable_only() -> None:
    assert words("$TOOLS/run ${TOOLS}/x $NONE", "$TOOLS") == ["/opt/tools/run", "/opt/tools/x", "$NONE", "$TOOLS"]


def test_a_variable_with_blanks_stays_one_word() -> None:
    assert commands.command_line(Program("$A"), Job(), {"A": "x y"}) == ["x y"]


def test_home_is_expanded_in_every_word() -> None:
    assert words("~/bin/run", "~/in ~") == ["/home/ada/bin/run", "/home/ada/in", "/home/ada"]


def test_a_python_file_runs_under_the_interpreter_that_registered_it() -> None:
    assert words("~/sim.py --fast", "3") == ["/env/bin/python", "/home/ada/sim.py", "--fast", "3"]
    assert words("python3 sim.py") == ["python3", "sim.py"]


def test_without_an_application_the_args_are_the_whole_command() -> None:
    assert commands.command_line(None, Job("echo '$A' ~/b"), HOME) == ["echo", "$A", "/home/ada/b"]


def test_no_application_and_no_args_is_no_command() -> None:
    with pytest.raises(ValidationError, match="no application and no args"):
        commands.command_line(None, Job("  "), HOME)


def test_scripts_expand_like_executables() -> None:
    assert commands.script_command("$TOOLS/pre.py ~/x", "/env/bin/python", HOME) == [
        "/env/bin/python",
        "/opt/tools/pre.py",
        "/home/ada/x",
    ]


def test_an_empty_script_is_refused() -> None:
    with pytest.raises(ValidationError, match="empty"):
        commands.script_command(" ", "python", HOME)


def test_without_an_envscript_there_is_no_shell() -> None:
    assert commands.with_envscript(["a", "b c"], "", HOME) == ["a", "b c"]


def run_with(envscript: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = commands.with_envscript(list(words), str(envscript), {})
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_envscript_is_sourced_and_every_word_arrives_as_it_was(tmp_path: Path) -> None:
    script = tmp_path / "my env's.sh"
    script.write_text("export COLOUR=blue\n")
    odd = ["$COLOUR", "a b", "it's", '"', "*", "\\", ";", "$(id)"]
    show = "import os, sys; print([os.environ['COLOUR'], *sys.argv[1:]])"
    done = run_with(script, sys.executable, "-c", show, *odd)
    assert done.stdout.strip() == repr(["blue", *odd])


def test_an_envscript_sees_no_arguments(tmp_path: Path) -> None:
    script = tmp_path / "env.sh"
    script.write_text('export COUNT="$#"\n')
    assert run_with(script, "printenv", "COUNT").stdout == "0\n"


@pytest.mark.parametrize(("text", "code"), [("false\n", 1), ("return 7\n", 7)])
def test_a_failing_envscript_says_so_and_nothing_starts(tmp_path: Path, text: str, code: int) -> None:
    script = tmp_path / "env.sh"
    script.write_text(text)
    done = run_with(script, "echo", "started")
    assert (done.returncode, done.stdout) == (code, "")
    assert f"the envscript {script} failed with code {code}" in done.stderr


def test_an_envscript_that_is_missing_fails_the_run(tmp_path: Path) -> None:
    done = run_with(tmp_path / "none.sh", "echo", "started")
    assert done.returncode != 0
    assert "started" not in done.stdout


def test_commands_are_found_on_the_path_of_the_run(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    path = f"/nonexistent:{tmp_path}"
    assert commands.find_executable("tool", path) is None  # not executable yet
    tool.chmod(0o755)
    assert commands.find_executable("tool", path) == str(tool)
    assert commands.find_executable("./tool", path) == "./tool"
    assert commands.find_executable("", path) is None


def test_output_goes_to_a_file_of_the_jobs_name() -> None:
    assert [commands.output_name(name) for name in ("scan", "")] == ["scan.out", "job.out"]


# Environments


def variables(job: Job, **more: str) -> dict[str, str]:
    return commands.job_variables(job, site_path="/site", attempt=2, token="secret", path="/usr/bin")


def test_a_run_knows_its_site_job_attempt_parents_and_credential() -> None:
    assert variables(Job(parents=["a", "b"])) == {
        "BALSAM_DB_PATH": "/site",
        "BALSAM_JOB_ID": Job().job_id,
        "BALSAM_ATTEMPT": "2",
        "BALSAM_PARENT_IDS": '["a", "b"]',
        "BALSAM_JOB_TOKEN": "secret",
    }


def test_more_parents_than_the_kernel_takes_in_a_variable_are_left_out() -> None:
    found = variables(Job(parents=[Job().job_id] * 10_000))
    assert "BALSAM_PARENT_IDS" not in found
    subprocess.run(["/bin/true"], env=found, check=True)
    fits = variables(Job(parents=[Job().job_id] * 3_200))
    assert "BALSAM_PARENT_IDS" in fits
    subprocess.run(["/bin/true"], env=fits, check=True)


def test_threads_are_told_when_there_are_several() -> None:
    assert variables(Job(threads_per_rank=4))["OMP_NUM_THREADS"] == "4"
    assert "OMP_NUM_THREADS" not in variables(Job(threads_per_rank=1))


def test_the_jobs_own_variables_win_except_over_balsams() -> None:
    job = Job(environ_vars={"A": "x=1", "OMP_NUM_THREADS": "2", "BALSAM_JOB_ID": "other"}, threads_per_rank=4)
    found = variables(job)
    assert (found["A"], found["OMP_NUM_THREADS"], found["BALSAM_JOB_ID"]) == ("x=1", "2", Job().job_id)


def test_balsam_is_found_on_every_path() -> None:
    bin_directory = os.path.dirname(sys.executable)
    assert variables(Job(environ_vars={"PATH": "/mine"}))["PATH"] == f"/mine:{bin_directory}"
    assert commands.base_environment({"PATH": "/usr/bin"})["PATH"] == f"/usr/bin:{bin_directory}"
    assert commands.base_environment({"PATH": f"{bin_directory}:/usr/bin"})["PATH"] == f"{bin_directory}:/usr/bin"


def test_nothing_of_an_outer_run_is_inherited() -> None:
    outer = {"BALSAM_JOB_TOKEN": "outer", "BALSAM_JOB_ID": "outer", "BALSAM_NODES": "n1", "A": "1", "PATH": "/bin"}
    assert {name for name in commands.base_environment(outer) if name.startswith("BALSAM")} == set()
    assert commands.base_environment(outer)["A"] == "1"


def test_a_handler_is_told_what_it_handles() -> None:
    assert commands.script_variables(timeout=True, error=False) == {"BALSAM_JOB_TIMEOUT": "TRUE"}
    assert commands.script_variables(timeout=False, error=True) == {"BALSAM_JOB_ERROR": "TRUE"}


def test_a_run_is_told_its_nodes() -> None:
    assert commands.run_variables(["n1", "n2"], 4, "auto") == {
        "BALSAM_NODES": "n1,n2",
        "BALSAM_LAUNCHER_NODES": "4",
        "BALSAM_JOB_MODE": "auto",
    }


# What an exit means


@pytest.mark.parametrize(
    ("returncode", "text", "code"),
    [
        (3, "exit code 3", 3),
        (-9, "killed by SIGKILL (9)", 137),
        (-11, "killed by SIGSEGV (11)", 139),
        (-40, "killed by signal 40 (40)", 168),
        (137, "exit code 137 (128 + SIGKILL)", 137),
        (255, "exit code 255", 255),
    ],
)
def test_exits_are_described(returncode: int, text: str, code: int) -> None:
    assert commands.describe_exit(returncode) == text
    assert commands.exit_code(returncode) == code


def test_out_of_memory_is_said() -> None:
    assert commands.describe_exit(-9, out_of_memory=True) == "killed by SIGKILL (9): out of memory"


def test_a_tail_is_clean() -> None:
    output = b"first\n\x1b[31mred\x1b[0m\n\n10%\r50%\r100%\r\n\x00bad\xff\n"
    assert commands.clean_tail(output, lines=3) == "red\n100%\nbad\ufffd"


def test_a_tail_leaves_out_the_banner_of_an_mpi_run_command() -> None:
    output = b"""E(V) did not converge

===================================================================================
=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES
=   EXIT CODE: 9
===================================================================================
YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Segmentation fault (signal 11)
This typically refers to a problem with your application.
Please see the FAQ page for debugging suggestions
"""
    assert commands.clean_tail(output).splitlines() == [
        "E(V) did not converge",
        "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Segmentation fault (signal 11)",
    ]


def test_a_tail_cuts_long_lines() -> None:
    assert commands.clean_tail(b"x" * 1000) == "x" * 300 + "..."


def test_a_tail_is_of_this_run_only(tmp_path: Path) -> None:
    file = tmp_path / "job.out"
    file.write_text("from the run before\nnow\n")
    assert commands.read_tail(file, since=20) == "now"
    assert commands.read_tail(file, since=24) == ""


def test_a_tail_follows_no_link_and_waits_for_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    assert [commands.read_tail(tmp_path / name) for name in ("link", "pipe", "none")] == ["", "", ""]
