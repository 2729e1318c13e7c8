"""MPI run commands: one function for each, from what a run asks for to the words before its command.

Pure, except `find`, which looks for programs and asks them for their version. Variables travel by name or by
inheritance, never by value: a token must not stand in an argument list.

Sources: the manual pages mpiexec(1) of MPICH's Hydra 4.2, Intel MPI 2021 and HPE PALS 1.3, mpirun(1) of Open MPI 5.0,
srun(1) of Slurm 22.05, aprun(1) of ALPS 6, jsrun(1) of IBM JSM 10.3.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from balsam.commands import find_executable
from balsam.errors import ValidationError

_VERSION_SECONDS = 20


@dataclass(frozen=True)
class MpiRun:
    """What a run asks of the MPI run command.

    Attributes:
        nodes: names of its nodes; empty: this host, which no run command need be told.
        node_count: how many nodes.
        ranks_per_node: ranks on each.
        threads_per_rank: cores for each rank under `depth`.
        threads_per_core: hardware threads used of each core.
        depth: bind each rank to its own `threads_per_rank` cores.
        flags: the user's extra flags; last, so that they win.
        variables: names of the variables that the ranks need beside those of this host.
    """

    node_count: int
    ranks_per_node: int
    nodes: tuple[str, ...] = ()
    threads_per_rank: int = 1
    threads_per_core: int = 1
    depth: bool = False
    flags: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()

    @property
    def ranks(self) -> int:
        """All ranks."""
        return self.node_count * self.ranks_per_node


def _hydra(run: MpiRun) -> list[str]:
    where = ["-ppn", f"{run.ranks_per_node}", "-hosts", ",".join(run.nodes)] if run.nodes else []
    bind = ["-bind-to", f"core:{run.threads_per_rank}"] if run.depth else []
    # Hydra passes the whole environment on, also to other hosts.
    return ["-n", f"{run.ranks}", *where, *bind]


def _openmpi(run: MpiRun) -> list[str]:
    where = ["--host", ",".join(f"{node}:{run.ranks_per_node}" for node in run.nodes)] if run.nodes else []
    by = f"ppr:{run.ranks_per_node}:node" + (f":PE={run.threads_per_rank}" if run.depth else "")
    bind = ["--map-by", by, "--bind-to", "core" if run.depth else "none"]
    # More ranks than cores is for the user to decide. Other hosts get only the variables that are named.
    names = [word for name in run.variables for word in ("-x", name)] if run.nodes else []
    return ["-n", f"{run.ranks}", *where, "--oversubscribe", *bind, *names]


def _intelmpi(run: MpiRun) -> list[str]:
    where = ["-ppn", f"{run.ranks_per_node}", "-hosts", ",".join(run.nodes)] if run.nodes else []
    bind = ["-genv", "I_MPI_PIN_DOMAIN", f"{run.threads_per_rank}:compact"] if run.depth else []
    return ["-n", f"{run.ranks}", *where, *bind]


def _srun(run: MpiRun) -> list[str]:
    where = ["--nodelist", ",".join(run.nodes)] if run.nodes else []
    bind = ["--cpus-per-task", f"{run.threads_per_rank}", "--cpu-bind=cores"] if run.depth else ["--cpu-bind=none"]
    # --overlap: the step of the node agents holds the nodes already, and would be waited for.
    shape = ["--nodes", f"{run.node_count}", "--ntasks", f"{run.ranks}", "--ntasks-per-node", f"{run.ranks_per_node}"]
    return ["--overlap", "--kill-on-bad-exit=1", *shape, *where, *bind]


def _aprun(run: MpiRun) -> list[str]:
    where = ["-L", ",".join(run.nodes)] if run.nodes else []
    bind = ["-cc", "depth" if run.depth else "none", "-d", f"{run.threads_per_rank}", "-j", f"{run.threads_per_core}"]
    return ["-n", f"{run.ranks}", "-N", f"{run.ranks_per_node}", *where, *bind]


def _jsrun(run: MpiRun) -> list[str]:
    shape = ["--nrs", f"{run.ranks}", "--rs_per_host", f"{run.ranks_per_node}", "--tasks_per_rs", "1"]
    bind = ["--bind", f"packed:{run.threads_per_rank}" if run.depth else "none"]
    return [*shape, "--cpu_per_rs", f"{run.threads_per_rank}", *bind]


def _pals(run: MpiRun) -> list[str]:
    where = ["--hosts", ",".join(run.nodes)] if run.nodes else []
    bind = ["--depth", f"{run.threads_per_rank}", "--cpu-bind", "depth"] if run.depth else ["--cpu-bind", "none"]
    return ["-n", f"{run.ranks}", "--ppn", f"{run.ranks_per_node}", *where, *bind]


@dataclass(frozen=True)
class Template:
    """One kind of MPI run command.

    Attributes:
        program: name of the command.
        signs: one of these stands in what ``--version`` prints, in lower case; none: the command's name tells.
        words: the words between the command and the user's.
        ignore_sigpipe: it must be started with SIGPIPE ignored.
    """

    program: str
    signs: tuple[str, ...]
    words: Callable[[MpiRun], list[str]]
    ignore_sigpipe: bool = False


TEMPLATES: dict[str, Template] = {
    # Hydra dies of SIGPIPE, with all ranks well, when they end within milliseconds on a busy processor.
    "mpich": Template("mpiexec", ("hydra build details",), _hydra, ignore_sigpipe=True),
    "openmpi": Template("mpiexec", ("open mpi", "openrte"), _openmpi),
    "intelmpi": Template("mpiexec", ("intel(r) mpi",), _intelmpi, ignore_sigpipe=True),
    "srun": Template("srun", (), _srun),
    "aprun": Template("aprun", (), _aprun),
    "jsrun": Template("jsrun", (), _jsrun),
    "pals": Template("mpiexec", ("pals",), _pals),
}
"""Names that the setting `mpi_command` may have, beside ``auto``."""

_AUTO_ORDER = ("intelmpi", "mpich", "pals", "openmpi")


@dataclass(frozen=True)
class Mpi:
    """The MPI run command to use.

    Attributes:
        name: which of `TEMPLATES`.
        program: its path.
        default_sigpipe: words that give the ranks SIGPIPE's default back; empty where there is no such command.
    """

    name: str
    program: str
    default_sigpipe: tuple[str, ...] = ()

    @property
    def ignore_sigpipe(self) -> bool:
        """The run command must be started with SIGPIPE ignored."""
        return TEMPLATES[self.name].ignore_sigpipe

    def command(self, run: MpiRun, words: Sequence[str]) -> list[str]:
        """The whole command line of a run whose own command is `words`."""
        wrapper = self.default_sigpipe if self.ignore_sigpipe else ()
        return [self.program, *TEMPLATES[self.name].words(run), *run.flags, *wrapper, *words]


@dataclass(frozen=True)
class NoMpi:
    """There is no MPI run command, and why."""

    reason: str


def find(setting: str, path: str) -> Mpi | NoMpi:
    """The MPI run command of this host. Looks at files and runs ``mpiexec --version``.

    Args:
        setting: the setting `mpi_command`.
        path: where to look, like PATH; the directory of this Python comes first.

    Raises:
        ValidationError: the setting is no valid name.
    """
    if setting != "auto" and setting not in TEMPLATES:
        valid = ", ".join(["auto", *TEMPLATES])
        raise ValidationError(f"mpi_command = {setting!r}: must be one of {valid}", field="mpi_command")
    search = f"{os.path.dirname(os.path.abspath(sys.executable))}:{path}"
    if setting != "auto":
        program = find_executable(TEMPLATES[setting].program, search)
        if program is None:
            return NoMpi(f"no {TEMPLATES[setting].program} found for mpi_command = {setting!r} (see settings.toml)")
        return _with_sigpipe(Mpi(setting, program), search)
    program = find_executable("mpiexec", search)
    name = identify(_version(program)) if program else None
    if program and name:
        return _with_sigpipe(Mpi(name, program), search)
    for name in ("srun", "aprun", "jsrun"):
        if other := find_executable(name, search):
            return Mpi(name, other)
    if program:
        valid = ", ".join(TEMPLATES)
        return NoMpi(f"{program} is of no known kind; set mpi_command in settings.toml to one of {valid}")
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
    return Mpi(mpi.name, mpi.program, wrapper) if works.returncode == 0 else mpi


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
