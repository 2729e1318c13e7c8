"""MPI run commands: one function for each, from what a run asks for to the words before its command. Pure.

Variables travel by name or by inheritance, never by value: a token must not stand in an argument list.

Sources: the manual pages mpiexec(1) of MPICH's Hydra 4.2, Intel MPI 2021 and HPE PALS 1.3, mpirun(1) of Open MPI 5.0,
srun(1) of Slurm 22.05, aprun(1) of ALPS 6, jsrun(1) of IBM JSM 10.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from balsam_launcher.seats import gpus_of_ranks, sharing

_RANK_GPUS = Path(__file__).with_name("rank_gpus.sh")


@dataclass(frozen=True)
class MpiRun:
    """What a run asks of the MPI run command.

    Attributes:
        nodes: names of its nodes; empty: this host, which no run command need be told.
        node_count: how many nodes.
        ranks_per_node: ranks on each.
        here: all of its nodes are this host.
        threads_per_rank: hardware threads for each rank under `depth`.
        threads_per_core: so many of them on each core.
        core_threads: hardware threads that each core has.
        depth: bind each rank to cores of its own.
        gpus: ids of its GPUs, on each node.
        gpus_per_rank: so many of them for each rank; fractions share one.
        gpu_variables: names of the variables by which ranks are told of them.
        flags: the user's extra flags; last, so that they win.
        variables: names of the variables that the ranks need beside those of this host.
    """

    node_count: int
    ranks_per_node: int
    nodes: tuple[str, ...] = ()
    here: bool = False
    threads_per_rank: int = 1
    threads_per_core: int = 1
    core_threads: int = 1
    depth: bool = False
    gpus: tuple[str, ...] = ()
    gpus_per_rank: float = 0.0
    gpu_variables: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()

    @property
    def ranks(self) -> int:
        """All ranks."""
        return self.node_count * self.ranks_per_node

    @property
    def cores_per_rank(self) -> int:
        """Cores of each rank under `depth`."""
        return cores_per_rank(self.threads_per_rank, self.threads_per_core)

    @property
    def shares_gpus(self) -> bool:
        """Several ranks use one GPU."""
        return 0 < self.gpus_per_rank < 1


def cores_per_rank(threads_per_rank: int, threads_per_core: int) -> int:
    """Cores on which so many threads find room, `threads_per_core` on each."""
    return -(-threads_per_rank // threads_per_core)


def _hydra(run: MpiRun) -> list[str]:
    # On this host alone no batch system need be asked for a step, which costs time and may have to wait.
    fork = ["-launcher", "fork"] if run.nodes and run.here else []
    where = ["-ppn", f"{run.ranks_per_node}", "-hosts", ",".join(run.nodes)] if run.nodes else []
    bind = ["-bind-to", f"core:{run.cores_per_rank}"] if run.depth else []
    # Hydra passes the whole environment on, also to other hosts.
    return ["-n", f"{run.ranks}", *fork, *where, *bind]


def _openmpi(run: MpiRun) -> list[str]:
    told = run.nodes and not run.here
    where = ["--host", ",".join(f"{node}:{run.ranks_per_node}" for node in run.nodes)] if told else []
    by = f"ppr:{run.ranks_per_node}:node" + (f":PE={run.cores_per_rank}" if run.depth else "")
    bind = ["--map-by", by, "--bind-to", "core" if run.depth else "none"]
    # More ranks than cores is for the user to decide. Other hosts get only the variables that are named.
    names = [word for name in run.variables for word in ("-x", name)] if told else []
    return ["-n", f"{run.ranks}", *where, "--oversubscribe", *bind, *names]


def _intelmpi(run: MpiRun) -> list[str]:
    fork = ["-bootstrap", "fork"] if run.nodes and run.here else []
    # In an allocation, Intel MPI takes the batch system's ranks for each node, unless it is told not to.
    ours = ["-genv", "I_MPI_JOB_RESPECT_PROCESS_PLACEMENT", "0"] if run.nodes else []
    where = ["-ppn", f"{run.ranks_per_node}", "-hosts", ",".join(run.nodes)] if run.nodes else []
    domain = f"{run.cores_per_rank * run.core_threads}:compact"  # in hardware threads
    bind = ["-genv", "I_MPI_PIN_DOMAIN", domain] if run.depth else []
    return ["-n", f"{run.ranks}", *fork, *where, *ours, *bind]


def _srun(run: MpiRun) -> list[str]:
    where = ["--nodelist", ",".join(run.nodes)] if run.nodes else []
    threads = min(run.threads_per_core, run.core_threads)
    wide = ["--cpus-per-task", f"{run.threads_per_rank}", "--threads-per-core", f"{threads}", "--cpu-bind=cores"]
    bind = wide if run.depth else ["--cpu-bind=none"]
    # --overlap: the step of the node agents holds the nodes already, and would be waited for.
    shape = ["--nodes", f"{run.node_count}", "--ntasks", f"{run.ranks}", "--ntasks-per-node", f"{run.ranks_per_node}"]
    return ["--overlap", "--kill-on-bad-exit=1", *shape, *where, *bind]


def _aprun(run: MpiRun) -> list[str]:
    where = ["-L", ",".join(run.nodes)] if run.nodes else []
    bind = ["-cc", "depth" if run.depth else "none", "-d", f"{run.threads_per_rank}", "-j", f"{run.threads_per_core}"]
    return ["-n", f"{run.ranks}", "-N", f"{run.ranks_per_node}", *where, *bind]


def _jsrun(run: MpiRun) -> list[str]:
    """jsrun itself finds hosts with room, and gives each resource set its GPUs. Where ranks share one, all ranks of a
    host are one resource set."""
    in_set = run.ranks_per_node if run.shares_gpus else 1
    sets = run.ranks_per_node // in_set
    gpus = len(run.gpus) if run.shares_gpus else gpus_of_ranks(1, run.gpus_per_rank)
    shape = ["--nrs", f"{run.node_count * sets}", "--rs_per_host", f"{sets}", "--tasks_per_rs", f"{in_set}"]
    cores = run.cores_per_rank if run.depth else run.threads_per_rank
    bind = ["--bind", f"packed:{cores}" if run.depth else "none"]
    return [*shape, "--cpu_per_rs", f"{in_set * cores}", *(["--gpu_per_rs", f"{gpus}"] if gpus else []), *bind]


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
        rank: variables that tell a rank its number on its node, or among all; the first that is set counts.
        ignore_sigpipe: it must be started with SIGPIPE ignored.
        assigns_gpus: it gives each rank whole GPUs by itself.
        hidden: variables for the command itself, of which its ranks must not know.
    """

    program: str
    signs: tuple[str, ...]
    words: Callable[[MpiRun], list[str]]
    rank: tuple[str, ...]
    ignore_sigpipe: bool = False
    assigns_gpus: bool = False
    hidden: tuple[str, ...] = ()


_SESSIONS = "OMPI_MCA_orte_local_tmpdir_base"
_OTHER_SESSIONS = ("OMPI_MCA_orte_tmpdir_base", "OMPI_MCA_orte_no_session_dirs")


TEMPLATES: dict[str, Template] = {
    # Hydra dies of SIGPIPE, with all ranks well, when they end within milliseconds on a busy processor.
    "mpich": Template(
        "mpiexec", ("hydra build details",), _hydra, ("MPI_LOCALRANKID", "PMI_RANK"), ignore_sigpipe=True
    ),
    # Its ranks would take the variable for a contradiction to what it tells them.
    "openmpi": Template(
        "mpiexec", ("open mpi", "openrte"), _openmpi, ("OMPI_COMM_WORLD_LOCAL_RANK",), hidden=(_SESSIONS,)
    ),
    "intelmpi": Template("mpiexec", ("intel(r) mpi",), _intelmpi, ("MPI_LOCALRANKID", "PMI_RANK"), ignore_sigpipe=True),
    "srun": Template("srun", (), _srun, ("SLURM_LOCALID",)),
    "aprun": Template("aprun", (), _aprun, ("ALPS_APP_PE",)),
    "jsrun": Template(
        "jsrun", (), _jsrun, ("OMPI_COMM_WORLD_LOCAL_RANK", "JSM_NAMESPACE_LOCAL_RANK"), assigns_gpus=True
    ),
    "pals": Template("mpiexec", ("pals",), _pals, ("PALS_LOCAL_RANKID",)),
}
"""Names that the setting `mpi_command` may have, beside ``auto``."""


def gpu_words(template: Template, run: MpiRun) -> list[str]:
    """The words before a rank's own command that give it its GPUs; none where it has none, or has them already."""
    if not run.gpus or (template.assigns_gpus and not run.shares_gpus):
        return []
    width = 1 if run.shares_gpus else gpus_of_ranks(1, run.gpus_per_rank)
    together = sharing(run.gpus_per_rank)
    lists = [",".join(names) for names in (template.rank, run.gpu_variables, run.gpus)]
    return ["/bin/sh", str(_RANK_GPUS), *lists, f"{width}", f"{together}", f"{run.ranks_per_node}"]


def run_variables(name: str, run: MpiRun, environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that a run command needs inside an allocation of Slurm, beside the environment of this process.

    Args:
        name: which of `TEMPLATES`.
        run: the run.
        environ: that environment.
    """
    if "SLURM_JOB_ID" not in environ or name == "srun":
        return {}
    # For the srun by which it reaches other nodes: the step of the node agents holds these already.
    found = {"SLURM_OVERLAP": "1"}
    if name == "openmpi" and run.here:
        # Open MPI 4 and 5: on this host alone, no step, and no look at the allocation's other nodes.
        found |= dict.fromkeys(("OMPI_MCA_ras", "OMPI_MCA_plm", "PRTE_MCA_ras", "PRTE_MCA_plm"), "^slurm")
    return found


def session_variables(name: str, directory: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that keep the files of one run command apart from those of others that begin or end at this moment.

    Open MPI 4 makes one directory for each host and user, and removes it when it is empty: of a thousand runs that
    overlap, one or two fail, because theirs was there and then was not.

    Args:
        name: which of `TEMPLATES`.
        directory: of this run alone, on the host of the run command; need not exist.
        environ: the environment; what the user has set there stays.
    """
    if name != "openmpi" or any(variable in environ for variable in (_SESSIONS, *_OTHER_SESSIONS)):
        return {}
    return {_SESSIONS: directory}
