"""The hosts that a batch system has given to this process, by what it says in the environment.

A function for each batch system, pure: variables and texts of files come in. `find` reads the files, and asks Flux.

Sources: sbatch(1) of Slurm 22.05 and 23.11, "OUTPUT ENVIRONMENT VARIABLES"; PBS Professional 2022.1 User's Guide,
"Environment Variables"; IBM Spectrum LSF 10.1 Configuration Reference, "Environment variables set for job execution";
ALCF, "Running jobs" (Cobalt); flux-environment(7) and flux-hostlist(1) of Flux 0.60.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from balsam.commands import find_executable
from balsam.errors import ValidationError
from balsam_launcher.hostlists import HINT, expand, lines, repeated

ASK_SECONDS = 10.0
"""A command of a batch system gets so long."""


@dataclass(frozen=True)
class Host:
    """A host of an allocation. 0: the batch system does not say.

    Attributes:
        name: its name, as run commands and the batch system know it.
        cpus: processors (hardware threads) that are ours there.
        cores: cores that are ours there.
        gpus: GPUs that are ours there.
    """

    name: str
    cpus: int = 0
    cores: int = 0
    gpus: int = 0


@dataclass(frozen=True)
class Allocation:
    """What a batch system has given: its name, and the hosts, in its order."""

    system: str
    hosts: tuple[Host, ...]


def slurm(environ: Mapping[str, str]) -> tuple[Host, ...]:
    """From SLURM_JOB_NODELIST, SLURM_JOB_CPUS_PER_NODE and SLURM_GPUS_ON_NODE.

    Raises:
        ValidationError: one of them is damaged.
    """
    name = "SLURM_JOB_NODELIST" if "SLURM_JOB_NODELIST" in environ else "SLURM_NODELIST"
    names = expand(name, environ[name])
    gpus = _slurm_gpus(environ)
    variable = "SLURM_JOB_CPUS_PER_NODE"
    text = environ.get(variable, "")
    cpus = repeated(variable, text) if text else [0] * len(names)
    if len(cpus) != len(names):
        raise ValidationError(
            f"{variable} = {text!r}: is of {len(cpus)} nodes, and {name} names {len(names)}; unset it, or set "
            "cores_per_node in settings.toml",
            field=variable,
        )
    return tuple(Host(name, count, gpus=gpus) for name, count in zip(names, cpus, strict=True))


def _slurm_gpus(environ: Mapping[str, str]) -> int:
    """The same on each node: Slurm tells of this one only."""
    on_node = environ.get("SLURM_GPUS_ON_NODE", "")
    if on_node.isdecimal():
        return int(on_node)
    per_node = environ.get("SLURM_GPUS_PER_NODE", "").rpartition(":")[2]  # may be like a100:4
    if per_node.isdecimal():
        return int(per_node)
    return len([word for word in environ.get("SLURM_JOB_GPUS", "").split(",") if word])


def pbs(environ: Mapping[str, str], text: str) -> tuple[Host, ...]:
    """From the file PBS_NODEFILE. A name stands there once for each MPI rank that was asked for: that is no number of
    cores. Torque tells that in PBS_NUM_PPN, PBS Professional in NCPUS.

    Raises:
        ValidationError: the file is damaged.
    """
    cpus = next((int(environ[name]) for name in ("PBS_NUM_PPN", "NCPUS") if environ.get(name, "").isdecimal()), 0)
    return tuple(Host(name, cpus) for name in lines("PBS_NODEFILE", text))


def cobalt_partition(environ: Mapping[str, str]) -> tuple[Host, ...]:
    """From COBALT_PARTNAME, ``4-6,9``: node ids, as aprun takes them; or names.

    Raises:
        ValidationError: it is damaged.
    """
    text = environ["COBALT_PARTNAME"]
    numbers = bool(text) and not text.strip("0123456789,-")
    names = expand("COBALT_PARTNAME", f"[{text}]" if numbers else text)
    return tuple(Host(name) for name in names)


def cobalt(text: str) -> tuple[Host, ...]:
    """From the file COBALT_NODEFILE.

    Raises:
        ValidationError: the file is damaged.
    """
    return tuple(Host(name) for name in lines("COBALT_NODEFILE", text))


def lsf(environ: Mapping[str, str], text: str | None = None, *, launch_node: bool = False) -> tuple[Host, ...]:
    """From the file LSB_DJOB_HOSTFILE (`text`), else LSB_MCPU_HOSTS, else LSB_HOSTS. Slots are taken for cores.

    Args:
        environ: the environment.
        text: of the file; None: there is none.
        launch_node: the first host, if it has one slot, is where the batch script runs, and no compute node. So it is
            where jsrun starts what runs on those.

    Raises:
        ValidationError: what is there is damaged.
    """
    if text is not None:
        slots = lines("LSB_DJOB_HOSTFILE", text)
    elif environ.get("LSB_MCPU_HOSTS", "").strip():
        slots = _pairs(environ["LSB_MCPU_HOSTS"])
    else:
        slots = lines("LSB_HOSTS", environ.get("LSB_HOSTS", "").replace(" ", "\n"))
    first = next(iter(slots))
    if launch_node and len(slots) > 1 and slots[first] == 1:
        del slots[first]
    return tuple(Host(name, cores=count) for name, count in slots.items())


def _pairs(text: str) -> dict[str, int]:
    words = text.split()
    names, counts = words[::2], words[1::2]
    if len(names) != len(counts) or not all(count.isdecimal() and int(count) for count in counts):
        raise ValidationError(
            f"LSB_MCPU_HOSTS = {text!r}: is no list of hosts and numbers like n1 4 n2 4; {HINT}", field="LSB_MCPU_HOSTS"
        )
    slots: dict[str, int] = {}
    for name, count in zip(names, counts, strict=True):
        slots[name] = slots.get(name, 0) + int(count)
    return slots


def flux(answer: str) -> tuple[Host, ...]:
    """From what ``flux hostlist local`` prints, or ``flux getattr hostlist``.

    Raises:
        ValidationError: it is damaged.
    """
    return tuple(Host(name) for name in expand("flux hostlist", answer.strip()))


def node_file(path: str, text: str) -> tuple[Host, ...]:
    """From a file of the user's: one name a line.

    Raises:
        ValidationError: the file is damaged.
    """
    return tuple(Host(name) for name in lines(f"node_file = {path!r}", text))


def system_of(environ: Mapping[str, str]) -> str:
    """The batch system in whose allocation a process with this environment is; empty: in none."""
    return next((system for system, sign, _ in _SYSTEMS if sign(environ)), "")


def find(environ: Mapping[str, str], file: str = "") -> Allocation | None:
    """The allocation that this process is in; None: in none. Reads files that variables name, and may ask Flux.

    Args:
        environ: the environment.
        file: the setting `node_file`, which counts where no batch system says anything.

    Raises:
        ValidationError: what the environment says is damaged, or a file cannot be read.
    """
    for system, sign, hosts in _SYSTEMS:
        if sign(environ):
            return Allocation(system, hosts(environ))
    return Allocation("node_file", node_file(file, _read("node_file", file))) if file else None


def _named(*names: str) -> Callable[[Mapping[str, str]], bool]:
    return lambda environ: any(name in environ for name in names)


def _pbs(environ: Mapping[str, str]) -> tuple[Host, ...]:
    return pbs(environ, _read("PBS_NODEFILE", environ["PBS_NODEFILE"]))


def _cobalt(environ: Mapping[str, str]) -> tuple[Host, ...]:
    if "COBALT_NODEFILE" in environ:
        return cobalt(_read("COBALT_NODEFILE", environ["COBALT_NODEFILE"]))
    return cobalt_partition(environ)


def _lsf(environ: Mapping[str, str]) -> tuple[Host, ...]:
    file = environ.get("LSB_DJOB_HOSTFILE")
    text = None if file is None else _read("LSB_DJOB_HOSTFILE", file)
    return lsf(environ, text, launch_node=find_executable("jsrun", environ.get("PATH", "")) is not None)


def _flux(environ: Mapping[str, str]) -> tuple[Host, ...]:
    answer = ask(["flux", "hostlist", "local"], environ)
    if not answer:  # before Flux 0.60 there is no such command
        answer = ask(["flux", "getattr", "hostlist"], environ)
    if not answer:
        uri = environ["FLUX_URI"]
        raise ValidationError(
            f"FLUX_URI = {uri!r}: neither `flux hostlist local` nor `flux getattr hostlist` names its nodes; {HINT}",
            field="FLUX_URI",
        )
    return flux(answer)


_SYSTEMS: tuple[tuple[str, Callable[[Mapping[str, str]], bool], Callable[[Mapping[str, str]], tuple[Host, ...]]], ...]
_SYSTEMS = (
    ("slurm", _named("SLURM_JOB_NODELIST", "SLURM_NODELIST"), slurm),
    # Cobalt sets PBS_NODEFILE too on some machines.
    ("cobalt", _named("COBALT_NODEFILE", "COBALT_PARTNAME"), _cobalt),
    ("pbs", _named("PBS_NODEFILE"), _pbs),
    ("lsf", _named("LSB_DJOB_HOSTFILE", "LSB_MCPU_HOSTS", "LSB_HOSTS"), _lsf),
    # Last: Flux runs inside the allocations of others as well.
    ("flux", _named("FLUX_URI"), _flux),
)


def _read(variable: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ValidationError(f"{variable} = {path!r}: cannot be read: {why}; {HINT}", field=variable) from None


def ask(command: Sequence[str], environ: Mapping[str, str]) -> str:
    """What a command of a batch system prints; empty where it is missing, fails, or takes longer than it may."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_SECONDS,
            check=False,
            env=dict(environ),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""
