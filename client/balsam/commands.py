"""From a job to what is started for it: command lines, environments, output files, and what an exit means.

Pure text work, except where a docstring says that the file system is looked at. Launchers, schedulers and the client
library share it, so that `BalsamJob.app_cmd` shows what a launcher runs.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from balsam.errors import ValidationError
from balsam.site import ENV_JOB_TOKEN, ENV_SITE

ENV_JOB_ID = "BALSAM_JOB_ID"
ENV_ATTEMPT = "BALSAM_ATTEMPT"
ENV_PARENT_IDS = "BALSAM_PARENT_IDS"
ENV_JOB_TIMEOUT = "BALSAM_JOB_TIMEOUT"
ENV_JOB_ERROR = "BALSAM_JOB_ERROR"
ENV_LAUNCHER_NODES = "BALSAM_LAUNCHER_NODES"
ENV_JOB_MODE = "BALSAM_JOB_MODE"
ENV_NODES = "BALSAM_NODES"

_OF_ONE_RUN = (
    ENV_JOB_ID,
    ENV_ATTEMPT,
    ENV_PARENT_IDS,
    ENV_JOB_TIMEOUT,
    ENV_JOB_ERROR,
    ENV_LAUNCHER_NODES,
    ENV_JOB_MODE,
    ENV_NODES,
    ENV_JOB_TOKEN,
)

PREPROCESS_LOG = "preprocess.log"
POSTPROCESS_LOG = "postprocess.log"

NOT_FOUND_CODE = 127
"""Exit code of a run whose command does not exist, as in a POSIX shell."""
NOT_STARTED_CODE = 126
"""Exit code of a run whose command exists and could not be started, as in a POSIX shell."""


class ProgramLike(Protocol):
    """What starting needs of an application: a `Program` message, or an `ApplicationDefinition`."""

    @property
    def executable(self) -> str:
        """First part of the command line."""

    @property
    def python(self) -> str:
        """Interpreter for `.py` files."""

    @property
    def envscript(self) -> str:
        """Bash script sourced before it starts, or empty."""


class JobLike(Protocol):
    """What starting needs of a job: a `Job` message, or a `BalsamJob`."""

    @property
    def job_id(self) -> str:
        """Its id."""

    @property
    def args(self) -> str:
        """Its command-line arguments."""

    @property
    def environ_vars(self) -> Mapping[str, str]:
        """Its variables."""

    @property
    def parents(self) -> Sequence[str]:
        """Ids of its parents."""

    @property
    def threads_per_rank(self) -> int:
        """Threads of each rank; 0 counts as 1."""


# Words


_SPECIAL = re.compile(r"""["'\\]""")
_WORD = re.compile(r"[^ \t\r\n]+")


def split(text: str) -> list[str]:
    """The words of a command line, as a POSIX shell splits them; nothing is expanded.

    Raises:
        ValidationError: a quote is not closed, or the text ends in a backslash.
    """
    if not _SPECIAL.search(text):
        return _WORD.findall(text)  # 30 times faster than shlex, and the same where there is no quoting
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValidationError(f"{text!r} does not split into words: {error}") from None


def expand_home(word: str, environ: Mapping[str, str]) -> str:
    """Replaces a leading ``~`` or ``~user``; a user who does not exist is left as written."""
    if not word.startswith("~"):
        return word
    name, slash, rest = word[1:].partition("/")
    home = environ.get("HOME") if not name else None
    if home is None:
        home = _home_of(name)
    if home is None:
        return word
    return (home.rstrip("/") + slash + rest) or "/"


def _home_of(name: str) -> str | None:
    import pwd

    try:
        return (pwd.getpwnam(name) if name else pwd.getpwuid(os.getuid())).pw_dir
    except KeyError:
        return None


_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)


def expand_variables(word: str, environ: Mapping[str, str]) -> str:
    """Replaces ``$NAME`` and ``${NAME}``; a variable that is not set is left as written, so that errors show it.

    So is the run's credential: everybody can read a command line.
    """
    if "$" not in word:
        return word

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return match[0] if name == ENV_JOB_TOKEN else environ.get(name, match[0])

    return _VARIABLE.sub(value, word)


# Command lines


def command_line(program: ProgramLike | None, job: JobLike, environ: Mapping[str, str]) -> list[str]:
    """The words of a run: ``{program.executable} {job.args}``, without its envscript.

    Args:
        program: the application; None: the job has none, its args are the whole command.
        job: the job.
        environ: the environment of the run; gives ``~`` and, in the executable, ``$VAR``.

    Raises:
        ValidationError: there is no command, or it does not split into words.
    """
    args = [expand_home(word, environ) for word in split(job.args)]
    executable = program.executable if program is not None else ""
    words = _program_words(executable, program.python if program is not None else "", environ) + args
    if not words:
        raise ValidationError("the job has no application and no args: there is no command to run", field="args")
    return words


def script_command(command: str, python: str, environ: Mapping[str, str]) -> list[str]:
    """The words of a pre- or post-processing script; a `.py` file runs under `python`.

    Raises:
        ValidationError: there is no command, or it does not split into words.
    """
    words = _program_words(command, python, environ)
    if not words:
        raise ValidationError("the script's command is empty")
    return words


def _program_words(text: str, python: str, environ: Mapping[str, str]) -> list[str]:
    words = [expand_home(expand_variables(word, environ), environ) for word in split(text)]
    if words and words[0].endswith(".py"):
        return [python or sys.executable, *words]
    return words


def with_envscript(words: Sequence[str], envscript: str, environ: Mapping[str, str], bash: str = "bash") -> list[str]:
    """The command behind a bash script that is sourced first; the words as they are where there is none.

    Where the script fails, bash exits with the script's code and says so; the command does not start.

    Args:
        words: the command.
        envscript: path of the script, or empty.
        environ: gives ``~``.
        bash: the shell. A path: the job's own PATH, or its directory, may hold another program of that name.
    """
    if not envscript:
        return list(words)
    script = shlex.quote(expand_home(envscript, environ))
    complaint = shlex.quote(f"balsam: the envscript {envscript} failed with code ")
    # Words are quoted into the text, not given as $1...: a sourced script sees the positional parameters.
    return [
        bash,
        "-c",
        f'source -- {script} || {{ code=$?; echo {complaint}"$code" >&2; exit "$code"; }}; exec {shlex.join(words)}',
    ]


def find_executable(word: str, path: str) -> str | None:
    """Path of a command, found as a shell does in the directories of `path`; None: there is none. Looks at files.

    A word with a ``/`` in it is returned as it is.
    """
    if "/" in word:
        return word
    if not word:
        return None
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{word}"
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    return None


def output_name(name: str) -> str:
    """Name of the file, in its working directory, that takes the output of a job called `name`."""
    return f"{name or 'job'}.out"


# Environments


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What runs and scripts inherit of the environment of the process that starts them.

    Nothing of a run that this process itself may be part of; and the `balsam` of this installation is on PATH.
    """
    base = {name: value for name, value in environ.items() if name not in _OF_ONE_RUN}
    base["PATH"] = _with_balsam(base.get("PATH", os.defpath))
    return base


_SEARCH_PATHS = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")


def absolute_only(path: str) -> str:
    """A list of directories such as PATH without those that depend on where one is; an empty entry means there."""
    return ":".join(directory for directory in path.split(":") if directory.startswith("/"))


def helper_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What programs of Balsam's own choice, such as scp, inherit where they run among a job's files.

    `base_environment`, but no program and no library is looked for in the current directory, where a file of the job
    may have its name. That is meant by an empty entry, as in ``LD_LIBRARY_PATH=:/opt/lib``, which comes about easily.
    """
    base = base_environment(environ)
    for name in _SEARCH_PATHS:
        if name in base:
            base[name] = absolute_only(base[name])
            if not base[name]:
                del base[name]
    base.setdefault("PATH", os.defpath)
    return base


def job_variables(
    job: JobLike, *, site_path: str | os.PathLike[str], attempt: int, token: str, path: str
) -> dict[str, str]:
    """The variables that a run and a script of a job have, beside those of `base_environment`.

    BALSAM_PARENT_IDS is left out where the list is longer than the kernel takes (about 3,300 parents); the Python
    API and ``balsam show`` know them all.

    Args:
        job: the job.
        site_path: the site.
        attempt: which try this is, from 1.
        token: the credential of this run or script.
        path: PATH of the base environment, for jobs that set another.
    """
    variables: dict[str, str] = {}
    threads = job.threads_per_rank
    if threads > 1:
        variables["OMP_NUM_THREADS"] = str(threads)
    if job.environ_vars:
        variables.update(job.environ_vars)
        if "PATH" in variables:
            variables["PATH"] = _with_balsam(variables["PATH"])
    # Last: a job cannot take over the names by which Balsam knows its runs.
    variables[ENV_SITE] = os.fspath(site_path)
    variables[ENV_JOB_ID] = job.job_id
    variables[ENV_ATTEMPT] = str(attempt)
    ids = parent_ids(job.parents)
    if len(ids) < _LONGEST_VARIABLE:
        variables[ENV_PARENT_IDS] = ids
    variables[ENV_JOB_TOKEN] = token
    return variables


def run_variables(nodes: Iterable[str], launcher_nodes: int, job_mode: str) -> dict[str, str]:
    """What a run has beside `job_variables`: names of its nodes, and its launcher's number of nodes and mode."""
    return {ENV_NODES: ",".join(nodes), ENV_LAUNCHER_NODES: str(launcher_nodes), ENV_JOB_MODE: job_mode}


def script_variables(*, timeout: bool, error: bool) -> dict[str, str]:
    """What a post-processing script has beside `job_variables` when it is called as a handler."""
    variables = {ENV_JOB_TIMEOUT: "TRUE"} if timeout else {}
    return variables | ({ENV_JOB_ERROR: "TRUE"} if error else {})


# The kernel takes 128 KiB for NAME=VALUE. A part of the list would be worse than none.
_LONGEST_VARIABLE = 131_000


def parent_ids(ids: Sequence[str]) -> str:
    """The JSON list in BALSAM_PARENT_IDS."""
    return "[" + ", ".join(f'"{parent}"' for parent in ids) + "]"


_BIN = os.path.dirname(os.path.abspath(sys.executable)) if sys.executable else ""


def _with_balsam(path: str) -> str:
    """A PATH on which the `balsam` command of this installation is found; appended, so that it hides nothing."""
    if not _BIN or _BIN in path.split(":"):
        return path
    return f"{path}:{_BIN}" if path else _BIN


# What an exit means


def exit_code(returncode: int) -> int:
    """The exit code to record: 128 + n where signal n ended the process (`returncode` is then -n)."""
    return returncode if returncode >= 0 else 128 - returncode


def describe_exit(returncode: int, *, out_of_memory: bool = False) -> str:
    """How a process ended, for people: ``exit code 3``, ``killed by SIGKILL (9)``.

    Args:
        returncode: its exit code; -n: signal n ended it.
        out_of_memory: the system says that it killed for lack of memory.
    """
    if returncode < 0:
        text = f"killed by {signal_name(-returncode)} ({-returncode})"
        return f"{text}: out of memory" if out_of_memory else text
    # A shell, or an MPI run command, gives 128 + n when its own child was killed.
    if 128 < returncode <= 128 + _LAST_COMMON_SIGNAL:
        text = f"exit code {returncode} (128 + {signal_name(returncode - 128)})"
        return f"{text}: out of memory" if out_of_memory else text
    return f"exit code {returncode}"


_LAST_COMMON_SIGNAL = 31
_RANK_KILLED = re.compile(r"TERMINATED WITH THE EXIT STRING: .*\(signal (\d+)\)")


def rank_signal(returncode: int, tail: str) -> int:
    """The return code of an MPI run whose rank was killed: MPICH's run command gives the bare number of the signal.

    Args:
        returncode: what the run command ended with.
        tail: the end of its output, in which it says so.
    """
    said = _RANK_KILLED.search(tail)
    return -returncode if said and int(said[1]) == returncode else returncode


def signal_name(number: int) -> str:
    """``SIGTERM`` for 15; ``signal 77`` for what has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# What MPICH's run command prints around the one line that says something.
_BANNER = re.compile(r"=+$|=   |This typically refers to a problem with your|Please see the FAQ page for debugging")
_TAIL_BYTES = 4096
_LINE_CHARACTERS = 300


def clean_tail(output: bytes, lines: int = 5) -> str:
    """The last lines of some output, for a message: no terminal codes, no blank or overlong lines, no banners."""
    text = _ESCAPES.sub("", output.decode("utf-8", "replace"))
    kept = []
    for line in reversed(text.split("\n")):
        # A progress bar overwrites its line: what it showed last counts.
        line = _CONTROL.sub("", line.rstrip("\r").rpartition("\r")[2]).rstrip()
        if line.strip() and not _BANNER.match(line):
            kept.append(line if len(line) <= _LINE_CHARACTERS else f"{line[:_LINE_CHARACTERS]}...")
        if len(kept) == lines:
            break
    return "\n".join(reversed(kept))


def read_tail(path: str | os.PathLike[str], *, since: int = 0, lines: int = 5) -> str:
    """`clean_tail` of what a file holds after byte `since`; empty where it cannot be read. Reads the file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        size = os.fstat(descriptor).st_size
        start = max(since, size - _TAIL_BYTES)
        return clean_tail(os.pread(descriptor, size - start, start), lines) if size > start else ""
    except OSError:
        return ""
    finally:
        os.close(descriptor)
