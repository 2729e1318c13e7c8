"""The MPI run command of a launcher: which there is, and the whole command line of a run.

`find` looks for programs and asks them for their version; the rest is pure, and `has_mpi4py` looks at files.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from balsam.commands import absolute_only, find_executable, split
from balsam.errors import ValidationError
from balsam.settings import Settings
from balsam_launcher.run_commands import TEMPLATES, MpiRun, gpu_words

_VERSION_SECONDS = 20
_ENV = "/usr/bin/env"
_AUTO_ORDER = ("intelmpi", "mpich", "pals", "openmpi")


@dataclass(frozen=True)
class Mpi:
    """The MPI run command to use.

    Attributes:
        name: which of `TEMPLATES`.
        program: its path.
        default_sigpipe: words that give the ranks SIGPIPE's default back; empty where there is no such command.
        options: words of the site's settings, for every run.
    """

    name: str
    program: str
    default_sigpipe: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def ignore_sigpipe(self) -> bool:
        """The run command must be started with SIGPIPE ignored."""
        return TEMPLATES[self.name].ignore_sigpipe

    def command(self, run: MpiRun, words: Sequence[str]) -> list[str]:
        """The whole command line of a run whose own command is `words`."""
        template = TEMPLATES[self.name]
        wrapper = self.default_sigpipe if self.ignore_sigpipe else ()
        if template.hidden:
            wrapper = (_ENV, *(word for name in template.hidden for word in ("-u", name)))
        before = [*template.words(run), *self.options, *run.flags]
        return [self.program, *before, *wrapper, *gpu_words(template, run), *words]


@dataclass(frozen=True)
class NoMpi:
    """There is no MPI run command, and why."""

    reason: str


def find(setting: str, path: str, *, program: str = "", options: str = "") -> Mpi | NoMpi:
    """The MPI run command of this host. Looks at files and runs ``mpiexec --version``.

    Args:
        setting: the setting `mpi_command`.
        path: where to look, like PATH; the directory of this Python comes first.
        program: the setting `mpi_program`: a path or name that counts instead of what is found; empty: none.
        options: the setting `mpi_options`.

    Raises:
        ValidationError: a setting is not valid.
    """
    if setting != "auto" and setting not in TEMPLATES:
        valid = ", ".join(["auto", *TEMPLATES])
        raise ValidationError(f"mpi_command = {setting!r}: must be one of {valid}", field="mpi_command")
    try:
        words = tuple(split(options))
    except ValidationError as error:
        raise ValidationError(f"mpi_options: {error}", field="mpi_options") from None
    # Runs are started in the directories of jobs: no program of ours is looked for where one is.
    search = f"{os.path.dirname(os.path.abspath(sys.executable))}:{absolute_only(path)}"
    found = _of_program(setting, program, search) if program else _of_path(setting, search)
    return replace(_with_sigpipe(found, search), options=words) if isinstance(found, Mpi) else found


def of_settings(settings: Settings, environ: Mapping[str, str]) -> Mpi | NoMpi:
    """The MPI run command of this host, as a site wants it. Looks at files and runs ``mpiexec --version``.

    Raises:
        ValidationError: a setting is not valid.
    """
    path = environ.get("PATH", os.defpath)
    return find(settings.mpi_command, path, program=settings.mpi_program, options=settings.mpi_options)


def _of_path(setting: str, search: str) -> Mpi | NoMpi:
    if setting != "auto":
        program = find_executable(TEMPLATES[setting].program, search)
        if program is None:
            return NoMpi(
                f"no {TEMPLATES[setting].program} found for mpi_command = {setting!r} (see settings.toml; "
                "mpi_program may name its path)"
            )
        return Mpi(setting, program)
    program = find_executable("mpiexec", search)
    name = identify(_version(program)) if program else None
    if program and name:
        return Mpi(name, program)
    for name in ("srun", "aprun", "jsrun"):
        if other := find_executable(name, search):
            return Mpi(name, other)
    return _unknown(program) if program else _nothing()


def _of_program(setting: str, program: str, search: str) -> Mpi | NoMpi:
    """The command that the settings name."""
    path = find_executable(os.path.expanduser(program), search)
    if path is None or not os.access(path, os.X_OK) or os.path.isdir(path):
        return NoMpi(f"mpi_program = {program!r}: is no program on this host; correct it in settings.toml")
    if setting != "auto":
        return Mpi(setting, path)
    by_name = [name for name in ("srun", "aprun", "jsrun") if os.path.basename(path) == name]
    name = by_name[0] if by_name else identify(_version(path))
    return Mpi(name, path) if name else _unknown(path)


def _unknown(program: str) -> NoMpi:
    valid = ", ".join(TEMPLATES)
    return NoMpi(f"{program} is of no known kind; set mpi_command in settings.toml to one of {valid}")


def _nothing() -> NoMpi:
    return NoMpi("no mpiexec found; install an MPI, for example with `pip install mpi4py mpich`")


def identify(version: str) -> str | None:
    """Which of `TEMPLATES` an ``mpiexec --version`` speaks of."""
    text = version[:2000].lower()
    return next((name for name in _AUTO_ORDER if any(sign in text for sign in TEMPLATES[name].signs)), None)


def _version(program: str) -> str:
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=_VERSION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def _with_sigpipe(mpi: Mpi, path: str) -> Mpi:
    env = find_executable("env", path) if mpi.ignore_sigpipe else None
    if env is None:
        return mpi
    wrapper = (env, "--default-signal=PIPE")
    try:  # in coreutils since 8.31, in other systems' `env` not
        works = subprocess.run([*wrapper, "true"], capture_output=True, timeout=_VERSION_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return mpi
    return replace(mpi, default_sigpipe=wrapper) if works.returncode == 0 else mpi


def aborting_python(words: Sequence[str], ranks: int, has_mpi4py: Callable[[str], bool]) -> list[str]:
    """`words`, with ``-m mpi4py`` where a Python script runs on several ranks.

    A rank that raises would otherwise wait in MPI_Finalize for ranks that wait for it, until the time limit. With it,
    the traceback is printed and the run is aborted; a script that does not use MPI runs as before. Where the
    interpreter has no mpi4py, or the user wrote the interpreter into the command, nothing is changed.
    """
    is_script = len(words) > 1 and words[1].endswith(".py")
    if ranks < 2 or not is_script or not has_mpi4py(words[0]):
        return list(words)
    return [words[0], "-m", "mpi4py", *words[1:]]


def has_mpi4py(python: str) -> bool:
    """Whether an interpreter has mpi4py, as far as its directories show. Looks at files."""
    prefix = os.path.dirname(os.path.dirname(os.path.abspath(python)))
    library = os.path.join(prefix, "lib")
    try:
        versions = [name for name in os.listdir(library) if name.startswith("python3")]
    except OSError:
        return False
    return any(
        os.path.exists(os.path.join(library, version, packages, "mpi4py", "run.py"))
        for version in versions
        for packages in ("site-packages", "dist-packages")
    )
