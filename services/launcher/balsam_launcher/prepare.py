"""From a leased job and its nodes to what a node agent is told to start. No I/O but what a docstring names."""

from __future__ import annotations

import functools
import os
from collections import ChainMap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from balsam.commands import (
    absolute_only,
    command_line,
    find_executable,
    job_variables,
    output_name,
    split,
    with_envscript,
)
from balsam.commands import run_variables as variables_of_run
from balsam.errors import ValidationError
from balsam.v1 import job_pb2
from balsam_launcher import allocation, gpus
from balsam_launcher.frames import Order, Start
from balsam_launcher.leased import LeasedJob
from balsam_launcher.mpi import Mpi, NoMpi, aborting_python, has_mpi4py
from balsam_launcher.nodes import Node
from balsam_launcher.run_commands import MpiRun, run_variables, session_variables

_has_mpi4py = functools.cache(has_mpi4py)


@dataclass(frozen=True)
class Surroundings:
    """What all runs of a launcher have in common.

    Attributes:
        site_path: the site.
        data: where its working directories are.
        base: environment that the agent gives to every run.
        nodes: the launcher's nodes.
        job_mode: the launcher's mode.
        mpi: the MPI run command.
        scratch: a directory on this host for what lasts no longer than the launcher.
    """

    site_path: Path
    data: Path
    base: dict[str, str]
    nodes: Sequence[Node]
    job_mode: str
    mpi: Mpi | NoMpi
    scratch: str

    @functools.cached_property
    def bash(self) -> str:
        """The shell that sources envscripts. Looks at files."""
        return find_executable("bash", absolute_only(self.base["PATH"])) or "/bin/bash"

    @functools.cached_property
    def _roots(self) -> list[str]:
        return [str(self.data)]

    def root_of(self, directory: str) -> str:
        """The site's data directory, as the path of a working directory begins: the job store may know the site by
        another path than this launcher. Looks at links, once for each such path.

        Raises:
            ValidationError: it is not under the data directory.
        """
        for root in self._roots:
            if directory.startswith(f"{root}/"):
                return root
        place = os.path.realpath(self._roots[0])
        ends = [at for at, letter in enumerate(directory) if letter == "/" and at]
        for root in (directory[:end] for end in ends):  # the shortest: further on, others may have put links
            if os.path.realpath(root) == place:
                self._roots.append(root)
                return root
        raise ValidationError(f"the working directory {directory} is not under {self._roots[0]}")

    @functools.cached_property
    def alone(self) -> bool:
        """This host is all there is, and no batch system knows it by a name: run commands need not be told."""
        return len(self.nodes) == 1 and self.nodes[0].local and not allocation.system_of(self.base)


def make_start(leased: LeasedJob, around: Surroundings) -> Start:
    """What the agent is told.

    Raises:
        ValidationError: the job cannot be run here; says why.
    """
    job = leased.job
    variables = job_variables(
        job, site_path=around.site_path, attempt=job.attempt, token=leased.token, path=around.base["PATH"]
    )
    names = [around.nodes[node].name for node in leased.nodes]
    variables.update(variables_of_run(names, len(around.nodes), around.job_mode))
    environ = ChainMap(variables, around.base)
    words = command_line(leased.program, job, environ)
    envscript = leased.program.envscript if leased.program is not None else ""
    needs, ignore_sigpipe = "", False
    if leased.need.mpi:
        words = _script_words(leased, words)
        # Behind an envscript, PATH is not known before.
        needs = "" if envscript else words[0]
    command = with_envscript(words, envscript, environ, around.bash) if envscript else words
    if leased.need.mpi:
        command, ignore_sigpipe = _under_mpi(leased, command, variables, around)
    elif leased.seats is not None and leased.need.gpus:
        seat = leased.seats.seats[0]
        variables.update(gpus.variables([around.nodes[seat.node].gpus[number] for number in seat.gpus], environ))
    cores = leased.seats.seats[0].cores if leased.seats is not None else ()
    # On the only node the agent keeps the books, and starts the next one when there is room.
    share = leased.need.share if len(around.nodes) == 1 else 0.0
    return Start(
        Order.START,
        leased.run_id,
        command,
        variables,
        job.working_directory,
        output_name(job.name),
        needs,
        ignore_sigpipe,
        share,
        cores,
        job.threads_per_core or 1,
        around.root_of(job.working_directory) if job.working_directory and not job.user_workdir else "",
    )


def _under_mpi(
    leased: LeasedJob, command: Sequence[str], variables: dict[str, str], around: Surroundings
) -> tuple[list[str], bool]:
    """The command under the MPI run command, and whether that is started with SIGPIPE ignored. Adds to `variables`."""
    if isinstance(around.mpi, NoMpi):
        raise ValidationError(f"an MPI run needs an MPI run command: {around.mpi.reason}")
    nodes = [around.nodes[node] for node in leased.nodes]
    run = _mpi_run(leased, nodes, variables, around)
    variables.update(run_variables(around.mpi.name, run, around.base))
    variables.update(session_variables(around.mpi.name, f"{around.scratch}/{leased.run_id}", around.base))
    return around.mpi.command(run, command), around.mpi.ignore_sigpipe


def _script_words(leased: LeasedJob, words: list[str]) -> list[str]:
    # Only where the interpreter is ours to choose: the first word of the user's command was a script.
    if leased.program is None or words[0] != leased.program.python:
        return words
    ranks = (leased.job.num_nodes or 1) * (leased.job.ranks_per_node or 1)
    return aborting_python(words, ranks, _has_mpi4py)


def _mpi_run(leased: LeasedJob, nodes: Sequence[Node], variables: dict[str, str], around: Surroundings) -> MpiRun:
    job = leased.job
    return MpiRun(
        node_count=job.num_nodes or 1,
        ranks_per_node=job.ranks_per_node or 1,
        nodes=() if around.alone else tuple(node.name for node in nodes),
        here=all(node.local for node in nodes),
        threads_per_rank=job.threads_per_rank or 1,
        threads_per_core=job.threads_per_core or 1,
        core_threads=nodes[0].threads_per_core,
        depth=job.cpu_affinity == job_pb2.Job.DEPTH,
        gpus=_gpus_of_each(leased, nodes),
        gpus_per_rank=job.gpus_per_rank,
        gpu_variables=gpus.variable_names(ChainMap(variables, around.base)),
        flags=tuple(split(job.mpi_flags)),
        variables=tuple(variables),
    )


def _gpus_of_each(leased: LeasedJob, nodes: Sequence[Node]) -> tuple[str, ...]:
    """Ids of a run's GPUs on each of its nodes; where those are not the same everywhere, numbers."""
    if leased.seats is None:
        return ()
    pairs = zip(nodes, leased.seats.seats, strict=True)
    ids = {tuple(node.gpus[number] for number in seat.gpus) for node, seat in pairs}
    first = ids.pop()
    return gpus.numbered(len(first)) if ids else first
